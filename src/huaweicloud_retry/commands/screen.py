"""What is printed, in a thread of its own: who reads it may stop, as `less` does, and requests in flight must not time out
because of that.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any, Final

from .exits import printing

_LAST: Final = 1.0  # seconds that `hurry` leaves to what is to be written
_AHEAD: Final = 1000  # of what is to be written, that may wait for the reader


class Screen:
    """The thread that prints, and the command's voice on standard error."""

    def __init__(self, prog: str) -> None:
        self._prog = prog
        self._thread = ThreadPoolExecutor(1, "huaweicloud-retry-output")
        self._pending: deque[asyncio.Future[Any]] = deque()
        self._hurried = asyncio.Event()
        self.say_line: Callable[[str], None] = _to_stderr
        """Prints a line on standard error; another while there is a progress bar."""

    def say(self, text: str) -> None:
        """Say something on standard error."""
        self.do(self.say_here, text)

    def say_here(self, text: str) -> None:
        """Say it now; in that thread only."""
        self.say_line(f"{self._prog}: {text}")

    def say_now(self, text: str) -> None:
        """Say it even while that thread is held up by whoever reads standard output."""
        if self.is_behind:
            # A thread of its own: standard error may be held up too.
            Thread(target=self.say_here, args=(text,), daemon=True).start()
        else:
            self.say(text)

    def hurry(self) -> None:
        """Wait no more for whoever reads, but a moment at the end."""
        self._hurried.set()

    def do(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in that thread, after all before it."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, _printed, function, *args)
        # Looked at, or asyncio would report those that fail after the first, with a traceback.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._pending.append(future)

    @property
    def is_behind(self) -> bool:
        """Something waits to be printed."""
        return any(not each.done() for each in self._pending)

    async def caught_up(self, *, wholly: bool = False) -> None:
        """Wait if too much waits to be printed; not after `hurry`.

        Args:
            wholly: wait for all of it.

        Raises:
            OutputError: it cannot be printed.
        """
        most = 0 if wholly else _AHEAD
        while self._pending and (self._pending[0].done() or len(self._pending) > most):
            if not self._pending[0].done():
                hurried = asyncio.create_task(self._hurried.wait())
                await asyncio.wait([self._pending[0], hurried], return_when=asyncio.FIRST_COMPLETED)
                hurried.cancel()
                if not self._pending[0].done():
                    return
            await self._pending.popleft()

    async def close(self) -> bool:
        """Wait for all of it, and end the thread; False: `hurry` was called, and whoever reads still holds it up.

        Raises:
            OutputError: it cannot be printed.
        """
        try:
            await self.caught_up(wholly=True)
            if self._pending:
                await asyncio.wait(self._pending, timeout=_LAST)
                await self.caught_up(wholly=True)
            return not self._pending
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)


def _printed(function: Callable[..., object], *args: Any) -> None:
    with printing():
        function(*args)


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the command's voice
