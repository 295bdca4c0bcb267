"""A lock on a journal: a file next to it, held open and locked by the system.

SQLite's own lock is not enough: on POSIX systems a process loses it when it opens and closes the journal
elsewhere, such as for a backup (https://www.sqlite.org/howtocorrupt.html, section 2.2). The system releases
this lock when its process ends. After a crash the file remains, and the next run reuses it.
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
_NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0)  # do not hang if the path is a pipe


class InUseError(OSError):
    """The lock is held, by another process or by this one."""


class Lock:
    """The lock on one journal, until `release`.

    Args:
        file: The journal. Symbolic links are followed, so that all names of a journal share one lock.
        shared: For readers: many readers, or one writer. Readers leave no file.

    Attributes:
        was_left: The lock file existed: an earlier run was killed.

    Raises:
        InUseError: The lock is held.
        OSError: The lock file cannot be opened.
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
            os.close(self._handle)  # the previous holder removed the file between our two calls

    def is_held(self) -> bool:
        """Return whether the path is still the locked file; another process could lock a new file."""
        try:
            return os.path.samestat(os.fstat(self._handle), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Release the lock."""
        is_ours = not self._shared and self.is_held()
        if is_ours and fcntl is not None:
            self._path.unlink()  # before the lock is released: no other process can hold this file
        os.close(self._handle)
        if is_ours and fcntl is None:
            # Windows cannot remove an open file, also if another process has opened it since.
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
