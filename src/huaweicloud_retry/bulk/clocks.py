"""The clock of a run. A journal may be read after the clock was set, or on another machine."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

from huaweicloud_retry.runs import Clock

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_STEP: Final = 0.5  # seconds; NTP slewing moves a clock less than this in one run


class RunClock(NamedTuple):
    """The clocks of this machine and of the server during a run.

    Attributes:
        boot: Boot ID of the machine; None: the system has none.
        offset: Wall clock minus seconds since boot; changes only when the clock is set.
        server: Offset of the server's clock, from the responses of the run; None: no response.
    """

    boot: str | None
    offset: float
    server: Clock | None = None

    @classmethod
    def now(cls) -> Self:
        """Return the clock of this moment."""
        boot = None
        with suppress(OSError):  # not on Linux
            boot = _BOOT.read_text(encoding="ascii").strip()
        clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
        since_boot = 0.0 if clock is None else time.clock_gettime(clock)
        return cls(boot if clock is not None else None, time.time() - since_boot)

    def was_set(self, now: "RunClock") -> bool:
        """Return whether the clock was set since."""
        return self.boot is not None and abs(now.offset - self.offset) > _STEP

    def is_current(self) -> bool:
        """Return whether times of the run can be compared with the current time."""
        now = self.now()
        return self.boot is not None and self.boot == now.boot and not self.was_set(now)
