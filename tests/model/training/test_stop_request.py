"""A wish to stop."""

import os
import signal
import threading

import pytest

from heterrec_model.training.stop_request import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_noted_and_the_second_stops_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    wish = StopRequest()
    with wish.listening():
        os.kill(os.getpid(), number)
        assert wish.name == number.name
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_in_another_thread_nothing_is_noted() -> None:
    wish = StopRequest()
    before = signal.getsignal(signal.SIGTERM)

    def listen() -> None:
        with wish.listening():
            assert signal.getsignal(signal.SIGTERM) is before

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert wish.name is None
