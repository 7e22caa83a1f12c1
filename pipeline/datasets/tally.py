"""What became of all that a source holds: used, failed and left out, each by reason."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_KINDS = 200  # reasons told apart; a source of odd data could have one for each row
_OTHER, _OTHER_WAY = "another reason", "in another way"
_LOOKED_AT = 1000  # characters of a reason; patterns would take the square of its length
_NUMBER = (re.compile(r"(?<![\w-])\d+"), "N")  # the 8 of UTF-8 is none
_VARYING = ((re.compile(r"'[^']*'|\"[^\"]*\""), "..."), (re.compile(r"\S*/\S*"), "..."), _NUMBER)


@dataclass
class Tally:
    """Counts of one index; `read` and all that was left out are all that the source holds.

    Attributes:
        read: what was read; it was used or failed.
        used: what is in the index. Several may show the same picture.
        failed: what is not, by reason.
        left_out: what the source holds beside its samples, by reason.
        unit: what is counted: files, rows, members of tars. A sample may be made of several.
        rewritten: paths and languages that were read otherwise than they are written, by how.
    """

    read: int = 0
    used: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    unit: str = "files"
    rewritten: Counter[str] = field(default_factory=Counter)

    def fail(self, reason: str, units: int = 1) -> None:
        """Count a sample that failed."""
        kind = kind_of(reason)
        self.failed[kind if kind in self.failed or len(self.failed) < _KINDS else _OTHER] += units

    def rewrite(self, how: str) -> None:
        """Count what was read otherwise than it is written."""
        self.rewritten[how if how in self.rewritten or len(self.rewritten) < _KINDS else _OTHER_WAY] += 1

    def as_dict(self) -> dict[str, Any]:
        """For about.json; the commonest reasons first."""
        failed, left_out = dict(self.failed.most_common()), dict(self.left_out.most_common())
        counts: dict[str, Any] = {"read": self.read, "used": self.used, "failed": failed, "left_out": left_out}
        if self.rewritten:  # absent otherwise
            counts["rewritten"] = dict(self.rewritten.most_common())
        return counts | {"unit": self.unit}


def kind_of(reason: str) -> str:
    """The reason without what differs between samples: names, numbers, and what stands behind a semicolon."""
    kind = reason[:_LOOKED_AT].partition("; ")[0]
    if "(it looks like" not in kind:
        kind = kind.partition(" (")[0]
    for pattern, sign in _VARYING:
        kind = pattern.sub(sign, kind)
    return kind


def table_of(tally: dict[str, Any]) -> Iterator[str]:
    """Lines of a table from `Tally.as_dict`: what was used, failed and left out, and by which reasons."""
    failed, left_out = sum(tally["failed"].values()), sum(tally["left_out"].values())
    yield f"{tally['read'] + left_out:>10,} {tally['unit']} found"
    yield f"{tally['used']:>10,} used"
    yield from (f"{number:>16,} {how}" for how, number in tally.get("rewritten", {}).items())
    for what, total, reasons in (("failed", failed, tally["failed"]), ("left out", left_out, tally["left_out"])):
        yield f"{total:>10,} {what}"
        yield from (f"{number:>16,} {reason}" for reason, number in reasons.items())
