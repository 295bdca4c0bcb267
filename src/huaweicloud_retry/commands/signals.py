"""Signals that end a run in order."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress


def ending() -> list[signal.Signals]:
    """Return the signals that end a run; not that of a terminal that closes, where nohup has it ignored."""
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
    is_ignored = hangup is None or signal.getsignal(hangup) == signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if hangup is None or is_ignored else [hangup])]


def interrupt_on_each() -> None:
    """Let each of them raise KeyboardInterrupt, until there is an event loop to handle it."""
    for each in ending():
        signal.signal(each, signal.default_int_handler)


def handle(loop: asyncio.AbstractEventLoop, handler: Callable[[], None]) -> None:
    """Call a handler in the loop for each of them."""

    def hand_over(*_: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: all is done
            loop.call_soon_threadsafe(handler)

    for each in ending():
        try:
            loop.add_signal_handler(each, handler)
        except NotImplementedError:  # by the loops of Windows
            signal.signal(each, hand_over)
