"""Evaluate every aligner on one task: python -m stages.evaluate +item=TASK"""

import sys

from pipeline.config import Config
from pipeline.evaluation import evaluate_task
from pipeline.evaluation.table import render
from stages.entry import named, run


def evaluate(config: Config, item: str) -> None:
    """Reads data/models, data/splits, data/features and data/index/prompts; writes data/results/<item>.*"""
    params = config.section("evaluate")
    result = evaluate_task(
        named(item, "task"),
        config.section("aligners"),
        params,
        repeats=config.section("splits").repeats,
        seed=config.section("seed"),
    )
    sys.stdout.write(render(result, params.control) + "\n")


if __name__ == "__main__":
    run(evaluate)
