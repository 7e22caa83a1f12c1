"""Prompts: grammar, order, and what an edit changes."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import ClassificationSet, PromptedClasses, SegmentationSource, SplitsParams, Translation
from pipeline.datasets.descriptions import read_descriptions
from pipeline.datasets.index import build_index
from pipeline.datasets.prompts import build_prompts
from pipeline.datasets.splits import build_splits
from pipeline.datasets.tables import read_table
from pipeline.datasets.templates import fill
from pipeline.errors import DataError, SourceError
from tests.datasets.label_maps import write_mask_folder

CLASSES = tuple(ClassificationSet(dataset="made", label=label) for label in ("concept", "category"))
NAMES = [f"gadget{chr(97 + number)}" for number in range(20)]


@pytest.fixture
def splits(make_index: Callable[..., Path], tmp_path: Path) -> Path:
    params = SplitsParams(repeats=1, validation=0.1, test=0.2, largest_family=0.5)
    build_splits({"made": make_index("made", NAMES)}, params, 0, tmp_path / "splits")
    return tmp_path / "splits"


def strings(folder: Path) -> list[str]:
    found: list[str] = read_table(folder / "texts.parquet")["text"].to_pylist()
    return found


def test_every_class_in_every_template(splits: Path, tmp_path: Path) -> None:
    params = PromptedClasses(classes=CLASSES, sets={"single": ("a {}.",), "both": ("a {}.", "the {}")})
    about = build_prompts(splits, params, tmp_path / "out")
    assert about["counts"] == {"texts": 42, "prompts": 63, "classes": 21}
    rows = read_table(tmp_path / "out" / "prompts.parquet").to_pylist()
    texts = {row["text_id"]: row["text"] for row in read_table(tmp_path / "out" / "texts.parquet").to_pylist()}
    category = [row for row in rows if row["label"] == "category"]
    assert [texts[row["text_id"]] for row in category] == ["a things.", "a things.", "the things"]
    assert {row["value"] for row in rows if row["label"] == "concept"} == set(NAMES)


def test_an_edit_changes_its_own_strings_only(splits: Path, tmp_path: Path) -> None:
    for out, middle in (("before", "the {}"), ("after", "one {}")):
        build_prompts(splits, PromptedClasses(classes=CLASSES, sets={"all": ("a {}.", middle, "{}!")}), tmp_path / out)
    before, after = strings(tmp_path / "before"), strings(tmp_path / "after")
    changed = [position for position, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    assert changed == list(range(21, 42))
    build_prompts(
        splits, PromptedClasses(classes=CLASSES, sets={"all": ("a {}.", "the {}", "{}!", "new {}")}), tmp_path / "more"
    )
    assert strings(tmp_path / "more")[: len(before)] == before


def test_named_template_sets(splits: Path, tmp_path: Path) -> None:
    own = tmp_path / "index/pairs/made/about.json"
    own.parent.mkdir(parents=True)
    made = json.loads((tmp_path / "index/made/about.json").read_text())
    own.write_text(json.dumps(made | {"templates": ["the {} itself"]}))
    params = PromptedClasses(classes=CLASSES[:1], sets={"own": "own", "openai": "openai-80", "few": "openai-7"})
    about = build_prompts(splits, params, tmp_path / "out", tmp_path / "index")
    assert {name: found["made"]["templates"] for name, found in about["sets"].items()} == {
        "own": 1,
        "openai": 80,
        "few": 7,
    }
    assert about["sets"]["own"]["made"]["sha256"] == hashlib.sha256(b'["the {} itself"]').hexdigest()
    written = strings(tmp_path / "out")
    assert {"the gadgeta itself", "a bad photo of a gadgeta.", "itap of a gadgeta."} <= set(written)
    own.write_text("{}")
    with pytest.raises(DataError, match="no prompt set `own`"):
        build_prompts(splits, params, tmp_path / "out", tmp_path / "index")


def test_descriptions_stand_in_place_of_templates(splits: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index/pairs/made"
    folder.mkdir(parents=True)
    told = {"gadgeta": ["it hums", "a grey box"], "gadgetb": ["it glows"], "unknown": ["never seen"]}
    (folder / "about.json").write_text(json.dumps({"descriptions": told}))
    params = PromptedClasses(classes=CLASSES[:1], sets={"described": "descriptions", "single": ("a {}.",)})
    about = build_prompts(splits, params, tmp_path / "out", tmp_path / "index")
    texts = {row["text_id"]: row["text"] for row in read_table(tmp_path / "out" / "texts.parquet").to_pylist()}
    rows = read_table(tmp_path / "out" / "prompts.parquet").to_pylist()
    said: dict[str, list[str]] = {}
    for row in rows:
        if row["set"] == "described":
            said.setdefault(row["value"], []).append(texts[row["text_id"]])
    assert said.pop("gadgeta") == ["it hums", "a grey box"]
    assert said.pop("gadgetb") == ["it glows"]
    assert all(strings == [value] for value, strings in said.items())
    assert about["sets"]["described"]["made"]["templates"] == 2
    before = about["sets"]["described"]["made"]["sha256"]
    (folder / "about.json").write_text(json.dumps({"descriptions": told | {"gadgetb": ["it glows red"]}}))
    after = build_prompts(splits, params, tmp_path / "again", tmp_path / "index")["sets"]
    assert after["described"]["made"]["sha256"] != before
    assert after["single"] == about["sets"]["single"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [("[]", "mapping of class names"), ('{"a": "one"}', "class 'a'"), ('{"a": []}', "class 'a'"), ("{", "JSON")],
)
def test_a_file_of_descriptions_of_another_form_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "told.json").write_text(content)
    with pytest.raises(SourceError, match=reason):
        read_descriptions(tmp_path / "told.json")


@pytest.mark.parametrize(
    ("classname", "text"),
    [
        ("apple", "an apple"),
        ("cat", "a cat"),
        ("unicorn", "a unicorn"),
        ("umbrella", "an umbrella"),
        ("Euro", "a Euro"),
    ],
)
def test_articles(classname: str, text: str) -> None:
    assert fill("a photo of a {}", classname) == f"a photo of {text}"
    assert fill("the {}", classname) == f"the {classname}"


def test_translations_stand_as_they_are(splits: Path, tmp_path: Path) -> None:
    german = Translation(dataset="made", label="category", language="de", names={"things": "Dinge"})
    params = PromptedClasses(classes=CLASSES, sets={"both": ("a {}.", "the {}")}, translations=(german,))
    build_prompts(splits, params, tmp_path / "out")
    texts = {row["text_id"]: row for row in read_table(tmp_path / "out" / "texts.parquet").to_pylist()}
    rows = read_table(tmp_path / "out" / "prompts.parquet").to_pylist()
    (own,) = [texts[row["text_id"]] for row in rows if row["language"] == "de"]
    assert (own["text"], own["language"]) == ("Dinge", "de")
    lacking = german.model_copy(update={"names": {"others": "andere"}})
    with pytest.raises(DataError, match="no name in 'de' for category 'things'"):
        build_prompts(splits, params.model_copy(update={"translations": (lacking,)}), tmp_path / "out")


def test_classes_of_label_maps(splits: Path, tmp_path: Path) -> None:
    spec = SegmentationSource(source="mask-folder", path=str(write_mask_folder(tmp_path)), windows=None)
    build_index(spec, tmp_path / "index/pairs/own", tmp_path)
    params = PromptedClasses(classes=CLASSES, sets={"both": ("a {}.", "the {}")}, segmentation=("own",))
    build_prompts(splits, params, tmp_path / "out", tmp_path / "index")
    texts = {row["text_id"]: row["text"] for row in read_table(tmp_path / "out" / "texts.parquet").to_pylist()}
    rows = [row for row in read_table(tmp_path / "out" / "prompts.parquet").to_pylist() if row["label"] == "segment"]
    found = {(row["value"], row["language"], texts[row["text_id"]]) for row in rows}
    stem = {("9", "en", "a stem."), ("9", "en", "a stalk."), ("9", "en", "the stem"), ("9", "en", "the stalk")}
    leaf = {("7", "en", "a leaf."), ("7", "en", "the leaf"), ("7", "de", "Blatt")}
    assert found == stem | leaf | {("9", "de", "Stiel")}, "every name is a prompt, and the background is none"
