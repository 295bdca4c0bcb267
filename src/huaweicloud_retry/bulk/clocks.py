"""By which clock the times of a run are. A journal may be read after this machine's clock was set, or on another machine."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

from huaweicloud_retry.runs import Clock

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_STEP: Final = 0.5  # seconds; a clock that is only slowed or sped up moves less in a run


class RunClock(NamedTuple):
    """What is known of the clocks of a run.

    Attributes:
        boot: Since when its machine runs, as its system names it; None: it does not.
        offset: Seconds that the clock was ahead of the time since then; changes only when the clock is set.
        server: How far the server's clock was ahead of this one, as responses of the run told; None: none came.
    """

    boot: str | None
    offset: float
    server: Clock | None = None

    @classmethod
    def now(cls) -> Self:
        """Return that of this moment."""
        boot = None
        with suppress(OSError):  # other systems than Linux
            boot = _BOOT.read_text(encoding="ascii").strip()
        clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
        since_boot = 0.0 if clock is None else time.clock_gettime(clock)
        return cls(boot if clock is not None else None, time.time() - since_boot)

    def was_set(self, now: "RunClock") -> bool:
        """Say whether the clock was set since."""
        return self.boot is not None and abs(now.offset - self.offset) > _STEP

    def by_now(self, at: float) -> tuple[float, Clock | None] | None:
        """Return a time of the run by the clock of now, and what was known of the server's; None: that cannot be told."""
        now = self.now()
        if self.boot is None or self.boot != now.boot:
            return None if self.server is None else (at, self.server)
        shift = self.offset - now.offset
        return at - shift, None if self.server is None else Clock(self.server.least + shift, self.server.most + shift)
