"""How long to wait before the next attempt. Pure: what spreads the waits is a parameter."""

import zlib
from datetime import timedelta

# A crash of ffmpeg or a passing glitch is over in seconds; a reboot or an outage takes minutes.
FIRST = timedelta(seconds=5)
LONGEST = timedelta(minutes=10)


def delay(failures: int, *, spread: str) -> timedelta:
    """Return the wait after `failures` failures in a row (from 1): it doubles each time.

    `spread`, a name that differs from step to step, takes up to half off, so that what failed together does not
    come back together.
    """
    full: timedelta = min(FIRST * 2 ** min(max(failures, 1) - 1, 20), LONGEST)
    return full * (1 - zlib.crc32(spread.encode()) / 2**33)
