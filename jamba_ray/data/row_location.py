"""Decides where prepared rows lie: on the device, in this machine's memory, or in mapped files."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jamba_ray.config.data import RowsIn

FREE_SHARE = 0.7
"""What of the free memory a table may take; other processes live here too."""
DEVICE_SHARE = 0.5
"""What of a device's free memory rows may take; the model and its activations need some as well."""
_CGROUPS = {
    2: (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    1: (
        Path("/sys/fs/cgroup/memory"),
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
}
"""By version: where it is mounted, the files of the limit and of what is held, and what the kernel
calls the part of that which it would give back."""


@dataclass(frozen=True)
class Place:
    """Says where rows lie, and why, as the end of a sentence."""

    kind: Literal["device", "host", "disk"]
    reason: str


def where_rows_live(reading_bytes: int, free_bytes: int, asked: RowsIn = "auto") -> Place:
    """Chooses ``host`` if a table that takes ``reading_bytes`` to prepare fits ``free_bytes`` of
    memory."""
    if asked == "disk":
        return Place("disk", "data.rows_in=disk asks for it")
    if asked != "auto":
        return Place("host", f"data.rows_in={asked} asks for it")
    needs = f"preparing it in memory takes about {gigabytes(reading_bytes)}"
    share = f"{FREE_SHARE:.0%} of the {gigabytes(free_bytes)} that are free"
    if reading_bytes <= FREE_SHARE * free_bytes:
        return Place("host", f"{needs}, which fits {share}")
    return Place("disk", f"{needs}, more than {share}")


def device_or_host(
    n_bytes: int, free_bytes: int, beside: Literal["host", "disk"], asked: RowsIn = "auto"
) -> Place:
    """Chooses ``device`` if prepared rows of ``n_bytes`` fit its free memory, else where they lie
    now."""
    if asked in ("host", "disk"):
        return Place(beside, f"data.rows_in={asked} asks for it")
    if asked == "device":
        return Place("device", "data.rows_in=device asks for it")
    share = f"{DEVICE_SHARE:.0%} of the {gigabytes(free_bytes)} that are free on the GPU"
    if n_bytes <= DEVICE_SHARE * free_bytes:
        return Place("device", f"their {gigabytes(n_bytes)} fit {share}")
    return Place(beside, f"their {gigabytes(n_bytes)} are more than {share}")


def gigabytes(n_bytes: float) -> str:
    """Returns the size in words."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"


def free_bytes() -> int:
    """Returns the memory that this process can still have: of the machine, its container and its
    ``ulimit``."""
    status = _kilobytes(Path("/proc/self/status"))
    limits = [_kilobytes(Path("/proc/meminfo")).get("MemAvailable", _physical())]
    for kind, used in ((resource.RLIMIT_DATA, "VmData"), (resource.RLIMIT_AS, "VmSize")):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft - status.get(used, 0))
    limits += _cgroup_limits()
    return max(min(limits), 0)


def _cgroup_limits() -> list[int]:
    """Lists what each control group of this process leaves to it, the innermost first."""
    limits: list[int] = []
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, own = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            root, most, used, reclaimable = _CGROUPS[1 if controllers else 2]
            folder = root / own.lstrip("/")
            for group in (folder, *folder.parents):
                if group.is_relative_to(root):
                    limits += _left(group / most, group / used, group / "memory.stat", reclaimable)
    return limits


def _left(most: Path, used: Path, statistics: Path, reclaimable: str) -> list[int]:
    """Returns [bytes], or an empty list where the group has no limit or is not visible from
    here."""
    with suppress(OSError, ValueError):  # absent, or "max"
        held = dict(line.split() for line in statistics.read_text().splitlines())
        return [int(most.read_text()) - int(used.read_text()) + int(held.get(reclaimable, 0))]
    return []


def _kilobytes(file: Path) -> dict[str, int]:
    """Reads the lines ``Name:  123 kB`` of a file in /proc, in bytes."""
    found = {}
    with suppress(OSError):
        for line in file.read_text().splitlines():
            name, _, value = line.partition(":")
            if value.endswith("kB"):
                found[name] = 1024 * int(value.split()[0])
    return found


def _physical() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
