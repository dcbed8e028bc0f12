"""A watch without waiting: what happens between its polls, as a list of steps."""

from collections.abc import Callable

from diffusionad.interrupts import StopRequest


class Script(StopRequest):
    """In place of each pause between two polls something happens; after the last the watch ends."""

    def __init__(self, steps: list[Callable[[], object]]):
        super().__init__()
        self._steps = list(steps)
        self._is_over = False

    @property
    def requested(self) -> bool:
        return self._is_over

    def wait(self, seconds: float) -> None:
        if self._steps:
            self._steps.pop(0)()
        else:
            self._is_over = True


def nothing() -> None:
    pass
