"""The costs for the terminal."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any


def by_group(stages: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Per group of stages: items, those without a run here, seconds, largest peak, bytes and files."""
    groups: dict[str, dict[str, Any]] = defaultdict(
        lambda: {"items": 0, "restored": 0, "seconds": 0.0, "peak_bytes": 0, "output_bytes": 0, "files": 0}
    )
    for stage in stages:
        group = groups[stage["group"]]
        group["items"] += 1
        group["restored"] += stage["seconds"] is None
        group["seconds"] = round(group["seconds"] + (stage["seconds"] or 0.0), 3)
        group["peak_bytes"] = max(group["peak_bytes"], stage["peak_bytes"] or 0)
        group["output_bytes"] += stage["output_bytes"]
        group["files"] += stage["files"]
    return dict(groups)


def render(costs: Mapping[str, Any]) -> str:
    """Three small tables: stages, aligners, ratios."""
    lines = [f"{'stage':12}{'items':>6}{'seconds':>10}{'peak MB':>9}{'MB':>9}{'files':>7}"]
    for name, group in by_group(costs["stages"]).items():
        seconds = "restored" if group["restored"] == group["items"] else f"{group['seconds']:.1f}"
        lines.append(
            f"{name:12}{group['items']:6d}{seconds:>10}{group['peak_bytes'] / 1e6:9.0f}"
            f"{group['output_bytes'] / 1e6:9.1f}{group['files']:7d}"
        )
    lines += [
        "",
        f"{'aligner':16}{'fitted':>12}{'kept rows':>12}{'in all':>14}{'share':>8}{'samples':>10}{'seconds':>9}",
    ]
    lines += [
        f"{entry['aligner']:16}{entry['trainable']:12,d}{entry['kept']:12,d}{entry['total']:14,d}{entry['trainable_share']:8.2%}"
        f"{entry['samples_seen']:10,d}{entry['train_seconds']:9.1f}"
        for entry in [*costs["aligners"], *costs["ensembles"]]
    ]
    lines += ["", f"{'ratio':40}{'value':>10}  poster"]
    for entry in costs["ratios"]:
        value = "unknown" if entry["value"] is None else f"{entry['value']:.3g}"
        lines.append(f"{entry['name']:40}{value:>10}  {entry['poster'] or '-'}")
    lines += [f"WITHOUT {reason}" for reason in costs["left_out"]]
    return "\n".join(lines)
