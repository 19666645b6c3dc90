"""What becomes of memory that a step frees?

A compiled step allocates and frees scratch space of hundreds of kilobytes, every step. By default
the C library gives each such piece back to the kernel and asks for it anew: the pages are cleared,
mapped and unmapped each time, with an interrupt to every core. At batch 64 of a small net that is
half of the step. Whether it happens depends on what the process happened to allocate before, so it
looks like noise. Kept, the same pages serve every step.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # From glibc's malloc.h.
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc refuses more, and then keeps its own.
_NEVER = 2**31 - 1
_TOP_PAD = 64 << 20  # Address space taken at once; only what is touched becomes memory.


def keep_freed_memory() -> bool:
    """Makes the C library keep what is freed for the next allocation of this process.

    False where it has no such setting, which is where it is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    settings = (
        (_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD),
        (_M_TRIM_THRESHOLD, _NEVER),
        (_M_TOP_PAD, _TOP_PAD),
    )
    taken = [mallopt(name, value) for name, value in settings]
    return all(taken)
