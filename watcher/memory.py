"""What glibc's allocator is told, so that a daemon that waits is small. Elsewhere nothing is told, and nothing lost."""

import contextlib
import ctypes

_M_ARENA_MAX = -8  # <malloc.h>


def share_one_heap() -> None:
    """Have all threads that start from now on allocate from one heap.

    With one for each, what they freed stays with them: 6 MB more in a daemon that made one film. Python's own lock
    lets one of them allocate at a time anyway.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return to the system what was freed."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
