"""Evaluating every aligner on one task."""

from collections.abc import Callable, Mapping, Sequence

import torch

from pipeline.config import AlignerSpec, EvaluateParams
from pipeline.device import choose_device
from pipeline.errors import ConfigError
from pipeline.evaluation.classification import evaluate_classification
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.long_text import evaluate_long_text
from pipeline.evaluation.multilingual import evaluate_multilingual
from pipeline.evaluation.results import Evaluated, TaskResult
from pipeline.evaluation.retrieval import evaluate_retrieval
from pipeline.evaluation.segmentation import evaluate_segmentation
from pipeline.evaluation.segmentation_benchmarks import evaluate_segmentation_benchmarks
from pipeline.paths import RESULTS

Task = Callable[[Sequence[TrainedAligner], EvaluateParams, int, int], Evaluated]
TASKS: dict[str, Task] = {
    "retrieval": evaluate_retrieval,
    "classification": evaluate_classification,
    "multilingual": evaluate_multilingual,
    "segmentation": evaluate_segmentation,
    "long_text": evaluate_long_text,
    "segmentation_benchmarks": evaluate_segmentation_benchmarks,
}


def evaluate_task(
    task: str, specs: Mapping[str, AlignerSpec], params: EvaluateParams, repeats: int, seed: int
) -> TaskResult:
    """Evaluate all aligners on `task` and write data/results/<task>.{json,csv,summary.json,examples.json}.

    Raises:
        ConfigError: there is no such task.
        PermafrostError: tables, stores or heads are missing or do not fit each other.
    """
    if task not in TASKS:
        raise ConfigError(f"There is no task {task!r}. Known: {', '.join(TASKS)}.")
    device = torch.device(choose_device(params.device))
    aligners = [TrainedAligner(name, spec, repeats, device) for name, spec in specs.items()]
    evaluated = TASKS[task](aligners, params, repeats, seed)
    evaluated.write(RESULTS, params.showcase)
    return evaluated.result
