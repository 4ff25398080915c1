"""Memory: whether an error means that it ran out, and a cap that makes it run out early."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None


def is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # On the CPU torch has no class of its own for it, and oneDNN no word.
    return bool(re.search("allocate memory|not enough memory|could not create a", str(error)))


@contextmanager
def capped_at_free_memory() -> Iterator[None]:
    """Caps the heap at the free memory, on Linux, so that an oversized allocation raises instead of
    waking the OOM killer or stalling the system."""
    available = available_memory()
    if resource is None or available is None:
        yield
        return
    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    used = int(re.search(r"VmData:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
    limits = [limit for limit in (before, most) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([used + available, *limits]), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, most))


def available_memory() -> int | None:
    """Bytes that are free for this process; None where the system does not say."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return None
    available = int(re.search(r"MemAvailable:\s*(\d+) kB", meminfo.read_text())[1]) * 1024
    group = Path("/sys/fs/cgroup")  # a container's own, if it has a limit
    if (group / "memory.max").exists() and (most := (group / "memory.max").read_text()) != "max\n":
        available = min(available, int(most) - int((group / "memory.current").read_text()))
    return available
