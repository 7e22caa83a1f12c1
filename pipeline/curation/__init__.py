"""Concept-rich curation: prototypes, exact retrieval over a pool, hygiene, balanced assignment, coverage."""

from pipeline.curation.by_concepts import curate_by_concepts
from pipeline.curation.run import curate_images

__all__ = ["curate_by_concepts", "curate_images"]
