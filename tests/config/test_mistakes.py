"""Mistakes that users make in files of a few lines: each gets a sentence that says what was found and what would do."""

import copy
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import load_config
from pipeline.errors import ConfigError
from tests.config.pages import blocks
from tests.config.refusals import refusal

CAPTIONS, READY, MILLIONS = blocks("docs/small_projects.md")
HEAD = CAPTIONS["aligners"]["default"]["head"]


def edited(project: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The project with `value` at the dotted key."""
    result = copy.deepcopy(project)
    *parents, last = key.split(".")
    inner = result
    for part in parents:
        inner = inner.setdefault(part, {})
    inner[last] = value
    return result


@pytest.mark.parametrize(
    ("project", "key", "value", "message"),
    [
        (CAPTIONS, "curations.all.pool", "mine", "`curations.all.pool` is 'mine': it should be a list, as in [mine]."),
        (CAPTIONS, "encoders.eye", "dinov2-small", "it should have keys of its own, as in {key: value}."),
        (CAPTIONS, "aligners.default.head.forms", ["cca"], "is ['cca']: it should have keys of its own"),
        (CAPTIONS, "aligners.default.head.forms", {}, "is {}: it should have at least 1 entry."),
        (CAPTIONS, "aligners.default.views", ["eye"], "is ['eye']: it should have one more value."),
        (CAPTIONS, "aligners.default.views", ["eye", "words", "x"], "it should have at most 2 entries."),
        (
            CAPTIONS,
            "views.words.languages",
            "en",
            "`views.words.languages` is 'en': it should be a list, as in [en], or 'all'.",
        ),
        (
            MILLIONS,
            "encode.batch_size",
            "Auto",
            "`encode.batch_size` is 'Auto': it should be a valid integer, or 'auto'.",
        ),
        (
            READY,
            "prompts.sets.openai",
            "a {}",
            "`prompts.sets.openai` is 'a {}': it should be a list, as in [a {}], or 'openai-80'",
        ),
        (CAPTIONS, "views.eye", None, "`views.eye` has no entry"),
        (CAPTIONS, "evaluate.tasks", None, "`evaluate.tasks` has no entry"),
        (CAPTIONS, "evaluate.tasks.retrieval", None, "`evaluate.tasks.retrieval` has no entry"),
        (READY, "stores.prompts", None, "`stores.prompts` has no entry"),
        (CAPTIONS, "encoders.eye", {"catalog": "dinov2-small"}, "Did you mean `catalogue`?"),
        (CAPTIONS, "seed", float("inf"), "`seed` is inf: it should be"),
        (CAPTIONS, "train.lr", float("nan"), "`train.lr` is nan: it should be a finite number."),
        (CAPTIONS, "datasets.mine.path", "${oc.env:HOME}/p", "nothing is interpolated; write the value itself."),
        (CAPTIONS, "datasets.mine.path", "???", "nothing is interpolated; write the value itself."),
    ],
)
def test_a_value_of_another_kind(project: dict[str, Any], key: str, value: Any, message: str) -> None:
    said = refusal(edited(project, key, value))
    assert message in said
    assert not any(word in said for word in ("array", "object.", "tuple", "constrained", "literal", "value error"))


@pytest.mark.parametrize(
    ("written", "message"), [("1", "a valid number"), (0, "greater than 0"), (-1.0, "greater than 0")]
)
def test_one_fault_is_told_once(written: Any, message: str) -> None:
    key = "aligners.default.head.forms.cca.shrink"
    lines = refusal(edited(CAPTIONS, key, written)).splitlines()
    assert lines == ["params.yaml:", f"  `{key}` is {written!r}: it should be {message}."]


@pytest.mark.parametrize(
    ("project", "key", "value", "message"),
    [
        (
            MILLIONS,
            "aligners.freeze-align.head",
            {"kind": "freeze-align"},
            "`aligners.freeze-align.head.local_tokens` is grid, so its view 'dino' needs",
        ),
        (
            edited(MILLIONS, "views.dino.tier", "full"),
            "aligners.freeze-align.head",
            {"kind": "freeze-align"},
            "needs `tier: grid`, found full; `local_tokens: mean` goes with every tier.",
        ),
        (CAPTIONS, "aligners.default.head", {**HEAD, "local_tokens": "patch"}, "needs `tier: full`, found grid"),
        (
            CAPTIONS,
            "aligners.default.head",
            {**HEAD, "layers": 7},
            "head.layers` is 7, but `encoders.eye.layers` keeps 1",
        ),
        (
            CAPTIONS,
            "aligners.default.views",
            ["words", "eye"],
            "`aligners.default.views.0` is 'words', a view of an encoder of texts.",
        ),
    ],
)
def test_what_a_head_reads_is_kept(project: dict[str, Any], key: str, value: Any, message: str) -> None:
    assert message in refusal(edited(project, key, value))


def test_open_clip_gives_one_vector_per_image() -> None:
    tower = {"source": "hub", "model": "laion/x", "loader": "open_clip", "pooling": "model"}
    project = edited(CAPTIONS, "encoders.eye", {"modality": "image", **tower})
    project["views"]["eye"]["tier"] = "cls"
    assert "dual encoder 'eye' gives one vector per image: set `local_tokens: none`" in refusal(project)


@pytest.mark.parametrize(
    ("task", "entry", "message"),
    [
        (
            "segmentation",
            {"scenes": "some", "classes": [{"dataset": "two", "label": "concept"}]},
            "`scenes.some.pieces` are",
        ),
        ("retrieval", {"datasets": ["mine", "mine"]}, "'mine' is listed more than once."),
        ("retrieval", {"datasets": ["mine"], "recall_at": [1, 1]}, "1 is listed more than once."),
    ],
)
def test_tasks_name_each_thing_once_and_where_it_is(task: str, entry: dict[str, Any], message: str) -> None:
    project = edited(CAPTIONS, f"evaluate.tasks.{task}", entry)
    project["scenes"] = {"some": {"pieces": ["mine"]}}
    project["datasets"]["two"] = {"source": "folder", "path": "/data/two"}
    assert message in refusal(project)


def test_stores_of_another_modality(raw: dict[str, Any]) -> None:
    raw["stores"]["prompts"]["p"] = {"dataset": "classnames", "view": "vit", "encoder": "vit-s14"}
    raw["datasets"]["maps"] = {"source": "voc", "path": "/data/voc"}
    raw["stores"]["pairs"]["maps-words"] = {"dataset": "maps", "view": "minilm", "encoder": "minilm"}
    said = refusal(raw)
    assert "`stores.prompts.p.view` is 'vit', a view of an encoder of images." in said
    assert "`stores.pairs.maps-words.view` is 'minilm', a view of an encoder of texts." in said


def test_names_that_would_stand_for_two_things(raw: dict[str, Any]) -> None:
    raw["aligners"]["default-mask-supervised"] = copy.deepcopy(raw["aligners"]["control"])
    raw["evaluate"]["versus"]["default"] = "default"
    said = refusal(raw)
    assert "`aligners.default-mask-supervised` cannot be" in said
    assert "`evaluate.versus.default` is 'default' itself" in said
    forms = edited(CAPTIONS, "aligners.default.head.forms", {"cca": {"kind": "ridge"}, "b": {"kind": "cca"}})
    assert "form 'cca' is of kind ridge: give it another name." in refusal(forms)


@pytest.mark.parametrize("layers", [[0], [2, 2]])
def test_layers_that_are_not_there(layers: list[int]) -> None:
    eye = {"catalogue": "dinov2-small", "layers": layers}
    assert "layers count from 1" in refusal(edited(CAPTIONS, "encoders.eye", eye))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("encoders:\n  null: {}\n", "`encoders`: Incompatible key type 'NoneType'. Names must be words"),
        ('datasets: {a: {path: "${"}}\n', "nothing is interpolated."),
        ("hello\n", "should hold named sections; it holds 'hello'."),
        ("encoders:\n  010: {}\n", "a name under `encoders` is read as 8 here and as 10 by DVC"),
    ],
)
def test_files_that_two_readers_stumble_over(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert message in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
