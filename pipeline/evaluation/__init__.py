"""Evaluation on held-out concept families: metrics, tasks, and the form of their results."""

from pipeline.evaluation.results import TaskResult
from pipeline.evaluation.run import evaluate_task

__all__ = ["TaskResult", "evaluate_task"]
