"""Memory that is free for this process. A system without any kills it without a word. No torch."""

import os
from contextlib import suppress
from pathlib import Path


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if `error` means that memory could not be had; torch has no class for that."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "memory" in f"{type(error).__name__} {error}".lower()
    )


def free_bytes() -> int | None:
    """Return how many bytes this process can still get; None where the system does not say.

    The least of what the machine, the control groups of the process, and its own limit leave.
    """
    sources = [_machine(), *_groups(), _own_limit()]
    return min((free for free in sources if free is not None), default=None)


def _machine() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _groups(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> list[int]:
    """Return what each control group of this process, of either version, leaves free."""
    free = []
    with suppress(OSError, ValueError):
        for line in own.read_text("utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(","):
                top, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
            elif not controllers:
                top, names = root, ("memory.max", "memory.current")
            else:
                continue
            group = top / path.lstrip("/")
            for folder in (group, *group.parents):
                free += _group(folder, *names)
                if folder == top:
                    break
    return free


def _group(folder: Path, limit: str, usage: str) -> list[int]:
    """Return the free bytes of one group; [] without a limit. Cached files can be given back."""
    with suppress(OSError, ValueError):
        maximum, used = (int((folder / name).read_text("ascii")) for name in (limit, usage))
        rows = (line.split() for line in (folder / "memory.stat").read_text("ascii").splitlines())
        cached = {name: int(size) for name, size in rows}
        used -= cached.get("total_inactive_file", cached.get("inactive_file", 0))
        return [max(0, maximum - used)]
    return []


def _own_limit() -> int | None:
    with suppress(ImportError, OSError, ValueError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
            return max(0, limit - pages * os.sysconf("SC_PAGE_SIZE"))
    return None
