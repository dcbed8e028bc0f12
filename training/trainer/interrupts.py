"""Ctrl-C and SIGTERM, so that what is saved is whole."""

import signal


class StopRequest:
    """Within, Ctrl-C and SIGTERM ask for a stop after the current step; the second time stops at once."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "StopRequest":
        self.before = {s: signal.signal(s, self._request) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for s, handler in self.before.items():
            signal.signal(s, handler)

    def _request(self, number: int, frame: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def ignore_interrupts(worker: int) -> None:
    """The terminal sends Ctrl-C to the workers, too; the training process alone decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
