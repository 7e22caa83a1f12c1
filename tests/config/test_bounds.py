"""No number without a least and a greatest value, and no file of parameters that grows out of hand."""

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import annotated_types
import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError

import pipeline.config
from pipeline.alignment.training.members import members_of
from pipeline.config import Params, Section, TrainParams, load_config
from pipeline.config.base import MOST_SEED
from pipeline.config.reading import MOST_BYTES, MOST_LEVELS, MOST_VALUES
from pipeline.errors import ConfigError
from tests.config.pages import blocks
from tests.config.refusals import refusal
from tests.config.test_mistakes import edited

ROOT = Path(__file__).resolve().parents[2]
PROJECT = blocks("docs/small_projects.md")[0]


def models(base: type[Section] = Section) -> Iterator[type[Section]]:
    for model in base.__subclasses__():
        if model.__module__.startswith(pipeline.config.__name__):
            yield model
            yield from models(model)


def numbers(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[tuple[type, tuple[Any, ...]]]:
    """The numbers in a type, each with what is said of it."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        yield from numbers(inner, (*metadata, *more))
    elif annotation in (int, float):
        yield annotation, metadata
    elif get_origin(annotation) is not None and "Literal" not in str(get_origin(annotation)):
        for part in get_args(annotation):
            yield from numbers(part, metadata if type(None) in get_args(annotation) else ())


def unbounded(model: type[Section]) -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        for _, metadata in numbers(field.annotation, tuple(field.metadata)):
            kinds = {type(part) for entry in metadata for part in (getattr(entry, "metadata", None) or (entry,))}
            least, most = {annotated_types.Ge, annotated_types.Gt}, {annotated_types.Le, annotated_types.Lt}
            if not (kinds & least and kinds & most):
                found.append(f"{model.__name__}.{name}")
    return found


def test_every_number_of_every_model_has_bounds() -> None:
    all_models = set(models())
    assert len(all_models) > 60
    assert Params in all_models
    assert {name for model in all_models for name in unbounded(model)} == set()


def test_a_number_without_bounds_is_seen() -> None:
    class Loose(Section):
        one: int
        some: tuple[Annotated[float, annotated_types.Ge(0)], ...] | None = None
        fine: Annotated[int, annotated_types.Ge(0), annotated_types.Lt(5)] | None = None
        flag: bool = False

    assert unbounded(Loose) == ["Loose.one", "Loose.some"]


@pytest.mark.parametrize(
    ("key", "value", "most"),
    [
        ("seed", 2**63, "less than or equal to 4503599627370495"),
        ("seed", 10**18, "less than or equal to 4503599627370495"),
        ("splits.repeats", 10**9, "less than or equal to 1000"),
        ("evaluate.bootstrap", 10**9, "less than or equal to 100000"),
        ("views.eye.resolution", 10**6, "less than or equal to 8192"),
        ("views.eye.crops", 10**6, "less than or equal to 1000"),
        ("encode.batch_size", 10**9, "less than or equal to 65536, or 'auto'"),
        ("encode.workers", 10**6, "less than or equal to 1024"),
        ("train.epochs", 10**12, "less than or equal to 1000000"),
        ("train.lr", 1e300, "less than or equal to 1000"),
        ("train.weight_decay", 1e30, "less than or equal to 1000000000"),
        ("datasets.mine.limit", 10**15, "less than or equal to 1000000000000"),
        ("encoders.eye.layers", [10**9], "less than or equal to 1000"),
    ],
)
def test_a_value_beyond_its_bounds_is_refused_with_the_bound(key: str, value: Any, most: str) -> None:
    said = refusal(edited(PROJECT, key, value))
    assert f"`{key}" in said
    assert most in said


def test_the_largest_seed_gives_seeds_that_every_generator_takes() -> None:
    """Also the last repeat of the member with the largest seed of its own; and no two of them are one."""
    seeds = []
    for seed, own in ((MOST_SEED, MOST_SEED), (MOST_SEED, 0), (0, 0)):
        params = TrainParams.model_validate({"members": {"m": {"seed": own}}})
        Params.model_validate({"seed": seed, "splits": {"repeats": 1000}})
        (member,) = members_of(params, seed, 1000, 999)
        torch.Generator().manual_seed(member.seed)
        np.random.default_rng(member.seed)
        assert member.seed < 2**63
        seeds.append(member.seed)
    assert len(set(seeds)) == 3


@pytest.mark.parametrize("value", [10**400, -(10**30), 2**64])
def test_numbers_that_no_format_holds(value: int) -> None:
    assert "no parameter takes it" in refusal(edited(PROJECT, "seed", value))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("field", ["lr", "weight_decay", "temperature", "grad_clip", "checkpoint_seconds", "ema"])
def test_no_float_is_infinite_or_no_number(field: str, value: float) -> None:
    with pytest.raises(ValidationError):
        TrainParams.model_validate({field: value})


def test_batches_of_pictures_that_fit_into_no_memory() -> None:
    large = edited(edited(PROJECT, "views.eye.resolution", 4096), "encode.batch_size", 512)
    assert "a batch would hold 8.59e+09 pixels" in (said := refusal(large))
    assert "`encode.batch_size` is 512, and view 'eye' has a resolution of 4096" in said
    crops = edited(edited(PROJECT, "views.eye.crops", 999), "encode.batch_size", 1024)
    assert "and 999 crops of each" in refusal(crops)


@pytest.mark.parametrize("text", ["pictures\0/etc", "a\ud800b"], ids=["nul", "surrogate"])
@pytest.mark.parametrize("key", ["datasets.mine.path", "encoders.eye.model", "train.device"])
def test_text_that_no_path_and_no_json_can_hold(key: str, text: str) -> None:
    assert f"`{key}` is {text!r}: it holds" in refusal(edited(PROJECT, key, text))
    named = copy.deepcopy(PROJECT)
    named["datasets"][text] = {}
    assert f"the name {text!r} under `datasets` holds" in refusal(named)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}])
def test_values_of_types_that_json_has_not(value: Any) -> None:
    assert "write a number, a truth value or text in quotes" in refusal(edited(PROJECT, "train.device", value))


def laughs(levels: int, of_each: int = 9) -> str:
    """`of_each ** levels` values in a few lines."""
    lines = ["a0: &a0 [" + ", ".join(["x"] * of_each) + "]"]
    lines += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * of_each) + "]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


HOSTILE = {
    "laughs": (laughs(12), f"more than {MOST_VALUES:,} values, with what aliases"),
    "merged laughs": (
        "a0: &a0 {k: v}\n"
        + "".join(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}, z: *a{i - 1}}}\n" for i in range(1, 30)),
        f"more than {MOST_VALUES:,} values",
    ),
    "endless": ("a: &a [*a]\n", "`*a` stands inside `&a`, which would have no end"),
    "deep lists": ("a: " + "[" * 100_000, f"more than {MOST_LEVELS} levels of nesting"),
    "deep maps": ("a: " + "{b: " * 900 + "1" + "}" * 900, f"more than {MOST_LEVELS} levels of nesting"),
    "deep blocks": ("\n".join(" " * i + "a:" for i in range(900)), f"more than {MOST_LEVELS} levels of nesting"),
    "a name twice": ("seed: 1\nseed: 2\n", "duplicate key"),
    "a long number": ("seed: " + "9" * 5000, "a value that cannot be read"),
    "no day": ("seed: 2001-02-31\n", "is not valid YAML for DVC: day is out of range"),
    "code": ("seed: !!python/object/apply:os.getcwd []\n", "is not valid YAML"),
    "a control character": ("seed: \x01\n", "is not valid YAML"),
    "a NUL character": ('seed: "\\0"\n', "holds a NUL character"),
    "two documents": ("seed: 1\n---\nseed: 2\n", "is not valid YAML"),
    "large": ("# " + "x" * MOST_BYTES, "MB are the most"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_grows_out_of_hand_or_is_none_of_ours(name: str, tmp_path: Path) -> None:
    text, message = HOSTILE[name]
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_aliases_in_reason_are_read(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("train: &t {lr: 0.01}\nencode: {device: &d cpu}\nevaluate: {device: *d}\n")
    params = load_config(path).params
    assert (params.train.lr, params.evaluate.device) == (0.01, "cpu")


def test_no_plain_file(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(ConfigError, match="it should be a plain file"):
            load_config(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="it should be a plain file"):
        load_config(tmp_path / "pipe")


def test_the_command_and_the_stage_say_so_too(tmp_path: Path) -> None:
    """Before Hydra, and before anything of the text is built."""
    (tmp_path / "params.yaml").write_text(laughs(12))
    for command in (["pipeline.config"], ["stages.settings"], ["stages.splits"], ["stages.train", "+item=x"]):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 1, command
        assert done.stderr.startswith("error: params.yaml, line "), done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_the_default_is_far_within() -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert len(text.encode()) * 50 < MOST_BYTES
    assert yaml.safe_load(text)
