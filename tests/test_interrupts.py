"""Ctrl-C and SIGTERM ask for a stop first."""

import os
import signal
import time

import pytest

from diffusionad.interrupts import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_request_and_ends_a_wait(number: int) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        started = time.monotonic()
        stop.wait(60)
        assert stop.requested and time.monotonic() - started < 30
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_interrupts() -> None:
    with StopRequest(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # a scheduler that repeats itself changes nothing
        os.kill(os.getpid(), signal.SIGINT)
