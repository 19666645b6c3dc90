"""What happens to the memory that a step frees?

`keep_freed_memory` makes the C library keep it for the next step. A compiled step allocates and frees
scratch space of hundreds of kilobytes. By default the C library returns each such block to the kernel
and requests it again: the pages are cleared, mapped and unmapped every time, with an interrupt to every
core. At batch 64 of a small net that takes half of the step. Whether it happens depends on what the
process has allocated before, so it looks like noise.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # From glibc's malloc.h.
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc refuses a larger value, and then keeps its own.
_NEVER = 2**31 - 1
_TOP_PAD = 64 << 20  # Address space reserved at once; only touched pages use memory.


def keep_freed_memory() -> bool:
    """Makes the C library keep freed memory for the next allocation of this process.

    Returns False where the C library is not glibc, which alone has the setting.
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
