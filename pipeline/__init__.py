"""Permafrost: frozen encoders, encoded once, aligned many times."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.inference import Aligner, Ensemble

__version__ = "0.1.0"

__all__ = ["Aligner", "Ensemble", "__version__"]


def __getattr__(name: str) -> Any:
    """`Aligner` and `Ensemble` on first use, so that the stages, which do without them, start fast."""
    if name in ("Aligner", "Ensemble"):
        from pipeline import inference

        return getattr(inference, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
