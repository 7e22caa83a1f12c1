"""CLIP_benchmark's own command line, with aligners as one more kind of model.

    python -m pipeline.interop.clip_benchmark eval --model data/models/default --pretrained 0 \\
        --dataset wds/stamps --dataset_root exported/stamps --output stamps.json

`--model` is the folder of an aligner (or its Hugging Face name) and `--pretrained` which of its repeats. All else is as
in `clip_benchmark`, except that mixed precision is off: with it, cosines are rounded to bfloat16 before they are
ranked. `pipeline.interop.export` writes the test split of a data set in the layout that `--dataset wds/...` reads.
"""

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch

from pipeline.errors import ConfigError
from pipeline.failures import exit_code
from pipeline.interop.clip_model import load_clip_model
from pipeline.torchvision_fix import ensure_torchvision

MODEL_TYPE = "permafrost"


def main(arguments: Sequence[str]) -> int:
    """Run CLIP_benchmark on `arguments`; returns the exit code."""
    return exit_code("python -m pipeline.interop.clip_benchmark", lambda: _run(arguments))


def _run(arguments: Sequence[str]) -> int:
    command, given = benchmark_command(), _with_defaults(arguments)
    before, sys.argv = sys.argv, ["clip_benchmark", *given]
    try:
        command.main()
    finally:
        sys.argv = before
    return 0


def benchmark_command() -> ModuleType:
    """The module `clip_benchmark.cli`, with aligners as a type of model.

    Raises:
        ConfigError: CLIP_benchmark is not installed.
    """
    ensure_torchvision()
    try:
        from clip_benchmark import cli, models
        from clip_benchmark.metrics import zeroshot_classification
    except ImportError as error:
        raise ConfigError(
            f"CLIP_benchmark cannot be imported ({error}). Install it with: pip install clip-benchmark"
        ) from error
    models.TYPE2FUNC[MODEL_TYPE] = _load
    if MODEL_TYPE not in models.MODEL_TYPES:
        models.MODEL_TYPES.append(MODEL_TYPE)
    _fix_accuracy(zeroshot_classification)
    module: ModuleType = cli
    return module


def _load(model_name: str, pretrained: str, cache_dir: str | None, device: str) -> Any:
    del cache_dir  # checkpoints are found as `Aligner.from_pretrained` finds them
    if not pretrained.isdecimal():
        raise ConfigError(f"--pretrained is the repeat of the aligner, a number from 0; found {pretrained!r}.")
    return load_clip_model(model_name, int(pretrained), device)


def _with_defaults(arguments: Sequence[str]) -> list[str]:
    given = list(arguments)
    if given[:1] != ["eval"]:
        return given
    defaults = {
        "--model_type": MODEL_TYPE,
        "--output": "{dataset}_{task}_{language}_{pretrained}.json",  # {model} would be a path
        "--num_workers": "0",  # webdataset fails with more workers than archives
    }
    for option, value in defaults.items():
        if option not in given:
            given += [option, value]
    return given if "--no_amp" in given else [*given, "--no_amp"]


def _fix_accuracy(module: ModuleType) -> None:
    """Fix `accuracy` of CLIP_benchmark 1.6 where numpy does not turn an array of one element into a float."""
    try:
        module.accuracy(torch.eye(2), torch.arange(2))
    except TypeError:

        def accuracy(output: torch.Tensor, target: torch.Tensor, topk: Sequence[int] = (1,)) -> list[float]:
            predicted = output.topk(max(topk), 1, True, True)[1].t()
            correct = predicted.eq(target.view(1, -1).expand_as(predicted))
            return [float(correct[:k].reshape(-1).float().sum().item()) / len(target) for k in topk]

        module.accuracy = accuracy  # type: ignore[attr-defined]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
