"""Where the features of an aligner go: by what they need, and by what is free."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import psutil
import torch

log = logging.getLogger(__name__)

Mode = Literal["device", "host", "stream"]
MODES: tuple[Mode, ...] = get_args(Mode)

SHARE = 0.5  # of the free memory; the rest is for the training itself, and for others
_CGROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_SECOND = ("memory.max", "memory.current", "inactive_file")  # version 2 of control groups
_FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_host_memory(cgroups: Path = _CGROUPS, own: Path = _OWN) -> int:
    """Bytes that a process may still take: what the machine has, or less where a control group allows less.

    Args:
        cgroups: where control groups are mounted.
        own: what says in which groups this process is, such as the group that SLURM made for a job.
    """
    free = int(psutil.virtual_memory().available)
    return max(0, min([free, *(left for group in _groups(cgroups, own) if (left := _left(*group)) is not None)]))


def _groups(cgroups: Path, own: Path) -> Iterator[tuple[Path, str, str, str]]:
    """The process's group and those above it, which limit it too; with the names of their files in their version."""
    places = {(cgroups, "")}
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or "memory" in controllers.split(","):
            places.add((cgroups / "memory" if controllers else cgroups, path.strip("/")))
    for root, path in places:
        version = _FIRST if root != cgroups else _SECOND
        group = root / path
        for folder in (group, *group.parents):
            yield folder, *version
            if folder == root:
                break


def _left(group: Path, limited: str, used: str, cached: str) -> int | None:
    """Bytes that a group leaves; pages of files that can be dropped are free."""
    try:
        limit = (group / limited).read_text(encoding="ascii").strip()
        taken = int((group / used).read_text(encoding="ascii"))
        statistics = (group / "memory.stat").read_text(encoding="ascii").split()
        droppable = int(statistics[statistics.index(cached) + 1]) if cached in statistics else 0
        return None if limit == "max" else int(limit) - taken + droppable
    except (OSError, ValueError):
        return None


def free_device_memory(device: torch.device) -> int:
    """Bytes free on `device`; the host's where it computes in host memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_host_memory()


def choose_mode(wanted: str, needed: int, device: torch.device) -> Mode:
    """Where `needed` bytes of features go.

    Args:
        wanted: a mode, or "auto": the device if half its free memory holds them, else host memory by the same rule,
            else streamed. The reason is logged.
    """
    on_device, on_host = free_device_memory(device), free_host_memory()
    if wanted == "auto":
        mode: Mode = "device" if needed <= SHARE * on_device else "host" if needed <= SHARE * on_host else "stream"
        reason = f"chosen by what is free, of which {SHARE:.0%} may be taken"
    else:
        mode, reason = _mode(wanted), "as train.features says"
    log.info(
        "Features: %s (%s): %.3g GB are needed, %.3g GB are free on %s and %.3g GB on the host",
        mode, reason, needed / 1e9, on_device / 1e9, device, on_host / 1e9,
    )  # fmt: skip
    return mode


def _mode(wanted: str) -> Mode:
    for mode in ("device", "host", "stream"):
        if wanted == mode:
            return mode
    raise ValueError(f"expected auto, device, host or stream, found {wanted!r}")
