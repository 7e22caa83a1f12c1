"""Evaluating every aligner on one task."""

from dataclasses import replace

import torch

from pipeline.config import TASKS, EvaluateSettings, imported
from pipeline.device import choose_device
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.ensembles import JoinedAligners
from pipeline.evaluation.results import Evaluated, TaskResult
from pipeline.paths import RESULTS


def evaluate_task(settings: EvaluateSettings) -> TaskResult:
    """Evaluate all aligners and ensembles on a task; write data/results/<task>.{json,csv,summary.json,examples.json}.

    Raises:
        PermafrostError: tables, stores or heads are missing or do not fit each other.
    """
    params, repeats = settings.evaluate, settings.repeats
    device = torch.device(choose_device(params.device))
    aligners = {name: TrainedAligner(name, spec, repeats, device) for name, spec in settings.aligners.items()}
    task = TASKS[settings.name]
    joined = settings.ensembles.items() if task.of_ensembles else ()
    rows = [*aligners.values(), *(JoinedAligners(name, one, aligners) for name, one in joined)]
    evaluate = imported(task.evaluate)
    evaluated: Evaluated = evaluate(rows, settings.task, params, repeats, settings.seed)
    compared = set(evaluated.result.controls)
    caveats = tuple(caveat for caveat in settings.caveats if caveat.partition(" ")[0] in compared)
    left_out = evaluated.result.left_out
    if not task.of_ensembles:
        left_out += tuple(f"{name}: an ensemble; this task is of single aligners" for name in settings.ensembles)
    evaluated = replace(evaluated, result=replace(evaluated.result, caveats=caveats, left_out=left_out))
    evaluated.write(RESULTS, params.showcase)
    return evaluated.result
