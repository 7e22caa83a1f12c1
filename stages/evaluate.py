"""Evaluate every aligner on one task: python -m stages.evaluate +item=TASK"""

import sys

from pipeline.config import EvaluateSettings
from pipeline.evaluation import evaluate_task
from pipeline.evaluation.table import render
from stages.entry import run


def evaluate(settings: EvaluateSettings) -> None:
    """Read data/models, data/dense, data/splits, data/features and data/index; write data/results/<item>.*"""
    sys.stdout.write(render(evaluate_task(settings)) + "\n")


if __name__ == "__main__":
    run(evaluate)
