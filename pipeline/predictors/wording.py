"""The answers in words."""

from collections.abc import Mapping, Sequence
from typing import Any

_FEW = 4  # fewer encoders establish nothing, whatever the interval says
_WITHIN = {
    "texts": "over {texts} text encoders, within each of {images} image encoders",
    "images": "over {images} image encoders, within each of {texts} text encoders",
    "pairs": "over all {images} x {texts} pairs",
}


def sentences(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """One for each predictor and scope whose encoders are enough; layers of one encoder are left to the table."""
    lines: list[str] = []
    for r in records:
        if r["scope"] not in _WITHIN:
            continue
        where = _WITHIN[r["scope"]].format(**r)
        if r["spearman"] is None:
            line = f"({r['points']}), {where}: too few encoders to correlate over, or a predictor that never varies."
            lines += [line] if line not in lines else []
            continue
        head = f"{r['predictor']} ({r['points']}), {where}"
        partial = "too few to control" if r["partial"] is None else f"{r['partial']:+.2f}"
        low, high = r["ci"] or (float("nan"), float("nan"))
        varied = {"texts": r["texts"], "images": r["images"]}.get(r["scope"], min(r["texts"], r["images"]))
        few = " Too few encoders to establish anything." if varied < _FEW else ""
        lines.append(
            f"{head}: Spearman {r['spearman']:+.2f} [{low:+.2f}, {high:+.2f}], p = {r['p']:.3f}; size and width "
            f"controlled {partial}; the encoder it picks loses {r['regret']:.0%} of the best recall (a random one "
            f"{r['regret_chance']:.0%}).{few}"
        )
    return lines
