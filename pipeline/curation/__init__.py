"""Concept-rich curation: few-shot prototypes, retrieval over a pool, balanced assignment, coverage."""

from pipeline.curation.run import curate_images

__all__ = ["curate_images"]
