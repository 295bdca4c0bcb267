"""Signals that stop a run."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress


def ending() -> list[signal.Signals]:
    """Return the signals that stop a run; not SIGHUP under nohup."""
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
    is_ignored = hangup is None or signal.getsignal(hangup) == signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if hangup is None or is_ignored else [hangup])]


def interrupt_on_each() -> None:
    """Make each signal raise KeyboardInterrupt, until an event loop handles it."""
    for each in ending():
        signal.signal(each, signal.default_int_handler)


def handle(loop: asyncio.AbstractEventLoop, handler: Callable[[], None]) -> None:
    """Make each signal call a handler in the event loop."""

    def hand_over(*_: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: the run has ended
            loop.call_soon_threadsafe(handler)

    for each in ending():
        try:
            loop.add_signal_handler(each, handler)
        except NotImplementedError:  # on Windows
            signal.signal(each, hand_over)
