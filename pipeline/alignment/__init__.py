"""Projectors between frozen feature spaces: heads, loss, training, and the saved model. It imports no encoder.

What needs torch is loaded on first use, so that a stage that only reads the tables starts without it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.alignment.fit import fit_aligner
    from pipeline.alignment.saved import HeadConfig, ProjectionHeads

__all__ = ["HeadConfig", "ProjectionHeads", "fit_aligner"]


def __getattr__(name: str) -> Any:
    if name in ("HeadConfig", "ProjectionHeads"):
        from pipeline.alignment import saved

        return getattr(saved, name)
    if name == "fit_aligner":
        from pipeline.alignment.fit import fit_aligner

        return fit_aligner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
