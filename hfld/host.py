"""Settings of the host process that make training on a CPU faster without changing any result."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc, malloc.h


def reuse_memory() -> bool:
    """Keep freed tensors' memory in the process instead of returning it to the kernel after every operation.

    glibc maps large blocks anew each time, and the page faults cost a third of a training step on a CPU
    (measured: 100 against 139 images/s).  Returns whether the setting was applied; other C libraries are
    left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))
