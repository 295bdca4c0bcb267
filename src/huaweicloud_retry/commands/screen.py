"""Prints in a separate thread: if a reader such as `less` blocks the output, requests must not time out."""

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any, Final

from .exits import printing

_LAST: Final = 1.0  # seconds to finish the output after `hurry`
_AHEAD: Final = 1000  # maximum number of pending outputs


class Screen:
    """The printing thread, and messages on standard error."""

    def __init__(self, prog: str) -> None:
        self._prog = prog
        self._thread = ThreadPoolExecutor(1, "huaweicloud-retry-output")
        self._pending: deque[asyncio.Future[Any]] = deque()
        self._hurried = asyncio.Event()
        self.say_line: Callable[[str], None] = _to_stderr
        """Prints a line on standard error; a progress bar replaces it."""

    def say(self, text: str) -> None:
        """Print a message on standard error."""
        self.do(self.say_here, text)

    def say_here(self, text: str) -> None:
        """Print a message now. Call it only in the printing thread."""
        self.say_line(f"{self._prog}: {text}")

    def say_now(self, text: str) -> None:
        """Print a message even if standard output is blocked."""
        if self.is_behind:
            # In another thread, since standard error can be blocked, too.
            Thread(target=self.say_here, args=(text,), daemon=True).start()
        else:
            self.say(text)

    def hurry(self) -> None:
        """Stop waiting for a blocked output, except for a moment at the end."""
        self._hurried.set()

    def do(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in the printing thread, after all previous ones."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, _call, function, *args)
        # Retrieve the exception: asyncio prints a traceback for those that nobody retrieves.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._pending.append(future)

    @property
    def is_behind(self) -> bool:
        """Whether output is pending."""
        return any(not each.done() for each in self._pending)

    async def catch_up(self, *, all_: bool = False) -> None:
        """Wait while too much output is pending; not after `hurry`.

        Args:
            all_: Wait for all output.

        Raises:
            OutputError: The output cannot be written.
        """
        most = 0 if all_ else _AHEAD
        while self._pending and (self._pending[0].done() or len(self._pending) > most):
            if not self._pending[0].done():
                hurried = asyncio.create_task(self._hurried.wait())
                await asyncio.wait([self._pending[0], hurried], return_when=asyncio.FIRST_COMPLETED)
                hurried.cancel()
                if not self._pending[0].done():
                    return
            await self._pending.popleft()

    async def close(self) -> bool:
        """Wait for all output, and end the thread. Returns False if output is blocked after `hurry`.

        Raises:
            OutputError: The output cannot be written.
        """
        try:
            await self.catch_up(all_=True)
            if self._pending:
                await asyncio.wait(self._pending, timeout=_LAST)
                await self.catch_up(all_=True)
            return not self._pending
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)


def _call(function: Callable[..., object], *args: Any) -> None:
    with printing():
        function(*args)


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a message
