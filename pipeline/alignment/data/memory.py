"""Where the features of an aligner go: by what they need, and by what is free."""

import logging
from pathlib import Path
from typing import Literal

import psutil
import torch

log = logging.getLogger(__name__)

Mode = Literal["device", "host", "stream"]

SHARE = 0.5  # of the free memory; the rest is for the training itself, and for others
_CGROUP = Path("/sys/fs/cgroup")


def free_host_memory(cgroup: Path = _CGROUP) -> int:
    """Bytes that a process may still take: what the machine has, or less where its control group allows less."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
        statistics = (cgroup / "memory.stat").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return free
    if limit == "max":
        return free
    cached = int(statistics[statistics.index("inactive_file") + 1]) if "inactive_file" in statistics else 0
    return max(0, min(free, int(limit) - used + cached))


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
