"""Permafrost: frozen encoders, encoded once, aligned many times."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.inference import Aligner

__version__ = "0.1.0"

__all__ = ["Aligner", "__version__"]


def __getattr__(name: str) -> Any:
    """`Aligner` on first use, so that the stages, which do without it, start fast."""
    if name == "Aligner":
        from pipeline.inference import Aligner

        return Aligner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
