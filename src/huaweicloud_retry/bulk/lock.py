"""A lock on a journal: a file next to it, held open and locked by the system.

Not SQLite's own lock, which a process loses on POSIX systems when it opens and closes the journal for anything else,
such as a backup (https://www.sqlite.org/howtocorrupt.html, section 2.2). The system releases this one when its process
ends, however it ends; the file may be left then, and the next run takes it.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

fcntl: Any
msvcrt: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

_IN_USE: Final = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK}
_NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0)  # if something that is no file is there, such as a pipe


class InUseError(OSError):
    """Another process, or another part of this one, has the lock."""


class Lock:
    """The lock on one journal, until `release`.

    Args:
        file: The journal's. Symbolic links are followed, so that all names of a journal have one lock.
        shared: For those who only read: any number of them, or one writer. They leave no file.

    Attributes:
        was_left: A run was killed: its file was there.

    Raises:
        InUseError: Another has it.
        OSError: There can be no lock there.
    """

    def __init__(self, file: Path, *, shared: bool = False) -> None:
        self._path = Path(f"{os.path.realpath(file)}.lock")
        self._shared = shared
        self.was_left = self._path.exists()
        while True:
            self._handle = os.open(
                self._path, _NO_WAIT | (os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT), 0o666
            )
            try:
                _lock(self._handle, shared=shared)
                if self.is_held():
                    return
            except BaseException:
                os.close(self._handle)
                raise
            os.close(self._handle)  # removed by the one that had it, between our two calls

    def is_held(self) -> bool:
        """Say whether the file is still the one that is locked; another process could lock a new one."""
        try:
            return os.path.samestat(os.fstat(self._handle), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give it back."""
        is_ours = not self._shared and self.is_held()
        if is_ours and fcntl is not None:
            self._path.unlink()  # while it is locked: nobody else can have locked this file
        os.close(self._handle)
        if is_ours and fcntl is None:
            # Windows removes no open file: not before, nor if another has opened it since.
            with suppress(OSError):
                self._path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _lock(handle: int, *, shared: bool) -> None:
    try:
        if fcntl is not None:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        else:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        if error.errno in _IN_USE:
            raise InUseError(*error.args) from error
        raise
