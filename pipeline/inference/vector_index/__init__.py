"""An optional index over vectors: faster than the exact scan, not quite as complete, and measured."""

from pipeline.inference.vector_index.build import Built, build_index
from pipeline.inference.vector_index.index import VectorIndex
from pipeline.inference.vector_index.plan import KINDS, Plan, plan_index

__all__ = ["KINDS", "Built", "Plan", "VectorIndex", "build_index", "plan_index"]
