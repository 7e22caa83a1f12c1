"""Heads: between the frozen features of two encoders and one shared space. One module each."""

from pipeline.alignment.heads.base import Head, parameter_count
from pipeline.alignment.heads.build import build_head

__all__ = ["Head", "build_head", "parameter_count"]
