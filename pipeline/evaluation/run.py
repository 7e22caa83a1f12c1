"""Evaluating every aligner on one task."""

from dataclasses import replace

import torch

from pipeline.config import TASKS, EvaluateSettings, imported
from pipeline.device import choose_device
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.results import Evaluated, TaskResult
from pipeline.paths import RESULTS


def evaluate_task(settings: EvaluateSettings) -> TaskResult:
    """Evaluate all aligners on a task and write data/results/<task>.{json,csv,summary.json,examples.json}.

    Raises:
        PermafrostError: tables, stores or heads are missing or do not fit each other.
    """
    params, repeats = settings.evaluate, settings.repeats
    device = torch.device(choose_device(params.device))
    aligners = [TrainedAligner(name, spec, repeats, device) for name, spec in settings.aligners.items()]
    evaluate = imported(TASKS[settings.name].evaluate)
    evaluated: Evaluated = evaluate(aligners, settings.task, params, repeats, settings.seed)
    compared = set(evaluated.result.controls)
    caveats = tuple(caveat for caveat in settings.caveats if caveat.partition(" ")[0] in compared)
    evaluated = replace(evaluated, result=replace(evaluated.result, caveats=caveats))
    evaluated.write(RESULTS, params.showcase)
    return evaluated.result
