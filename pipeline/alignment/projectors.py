"""Freeze-Align's projectors under the name by which other rooms know them."""

from pipeline.alignment.heads.base import parameter_count
from pipeline.alignment.heads.freeze_align import FreezeAlign, GlobalMLP, TokenProjector

__all__ = ["FreezeAlign", "GlobalMLP", "TokenProjector", "parameter_count"]
