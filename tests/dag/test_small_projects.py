"""The projects of docs/small_projects.md, and others as users bring them, run from `dvc repro` to the report."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from pipeline import Aligner
from pipeline.errors import CheckpointError
from pipeline.features import FeatureStore
from tests.dag import tiny
from tests.dag.project import ROOT, Project
from tests.datasets.layouts import photo, write, write_tar

pytestmark = pytest.mark.dag

PAGE = (ROOT / "docs/small_projects.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.S)
CAPTIONS, READY, MILLIONS = BLOCKS
COUNT = 60
CLASSES = ("anchor", "bridge", "candle")


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoders of toy size in a folder with a space in its name."""
    folder: Path = tmp_path_factory.mktemp("small") / "out side"
    tiny.write_image_checkpoint(folder / "eye", 0)
    tiny.write_text_checkpoint(folder / "words", 1)
    return folder


def local(entry: dict[str, Any], outside: Path) -> dict[str, Any]:
    """The same encoder as a local one of toy size."""
    modality = entry.get("modality", "image" if "dino" in entry.get("catalogue", "") else "text")
    kept = {key: value for key, value in entry.items() if key == "autocast"}
    own = (
        {"model": str(outside / "eye")} if modality == "image" else {"model": str(outside / "words"), "pooling": "mean"}
    )
    return {"modality": modality, "source": "local", "loader": "transformers", **own, **kept}


def project(folder: Path, params: dict[str, Any]) -> Project:
    return Project.started(folder, folder, params | {"hydra": tiny.HYDRA})


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = (4 * number % 255, 255 - 3 * number % 255, 40 + number)
    Image.new("RGB", (40 + number % 5, 40), colours).save(path)


def scores(made: Project, task: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((made.folder / "data" / "results" / f"{task}.json").read_text())
    return content


def shown(made: Project) -> str:
    return (made.folder / "data" / "report" / "index.html").read_text(encoding="utf-8")


def test_the_smallest_file_has_at_most_25_lines() -> None:
    assert len(CAPTIONS.strip().splitlines()) <= 25


def test_sixty_captioned_pictures_with_odd_names(outside: Path, tmp_path: Path) -> None:
    params = yaml.safe_load(CAPTIONS)
    pictures = tmp_path / "my pictures, größer"
    with_captions = []
    for number in range(COUNT):
        name = f"pic {number} ü'{number % 3}.png"
        picture(pictures / name, number)
        thing, colour = tiny.THINGS[number % len(tiny.THINGS)], list(tiny.COLOURS)[number % len(tiny.COLOURS)]
        with_captions += [(name, f"a {colour} {thing}, {number}"), (name, f"drawing of a {thing} {number}")]
    with open(pictures / "captions.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "caption"), *with_captions])
    params["encoders"] = {
        "eye": local({"catalogue": "dinov2-small"}, outside),
        "words": local({"catalogue": "all-mpnet-base-v2"}, outside),
    }
    params["views"]["eye"]["resolution"] = 28
    params["datasets"]["mine"]["path"] = str(pictures)
    made = project(tmp_path / "pro ject", params)
    stages = made.repro()
    assert {
        "encode@mine-eye",
        "encode@mine-words",
        "curate@all",
        "train@default",
        "evaluate@retrieval",
        "report",
    } <= stages
    assert not {stage.partition("@")[0] for stage in stages} & {"scenes", "compare", "toy", "dense", "encode_scenes"}
    result = scores(made, "retrieval")
    assert {row["aligner"] for row in result["rows"]} == {"default"}
    assert all(row["chance"] is not None for row in result["rows"])
    assert result["differences"] == []
    assert "Retrieval" in shown(made)
    assert "Zero-shot classification" not in shown(made), "what is not named is not there"
    assert made.repro() == set()


@pytest.mark.long
def test_a_ready_model_on_sets_of_clip_benchmark(tmp_path: Path) -> None:
    from tests.encoders.dual_models import transformers_folder

    params = yaml.safe_load(READY)
    transformers_folder(tmp_path / "clip", "clip")
    for side in ("image", "text"):
        params["encoders"][f"clip-{side}"] |= {"source": "local", "model": str(tmp_path / "clip")}
    params["views"]["clip-image"]["resolution"] = 32
    labelled, captioned = tmp_path / "wds_cifar10", tmp_path / "wds_flickr8k"
    write(labelled / "classnames.txt", "\n".join(("red kite", "green bowl", "cats")))
    write(labelled / "test/nshards.txt", "1")
    write_tar(
        labelled / "test/0.tar",
        [pair for n in range(12) for pair in ((f"s{n}.jpg", photo(n)), (f"s{n}.cls", str(n % 3).encode()))],
    )
    write(captioned / "dataset_type.txt", "retrieval")
    write(captioned / "test/nshards.txt", "1")
    texts = ("a red kite", "the green bowl of soup", "two cats", "a kite and cats", "soup with the cats")
    write_tar(
        captioned / "test/0.tar",
        [pair for n, t in enumerate(texts) for pair in ((f"c{n}.jpg", photo(20 + n)), (f"c{n}.txt", t.encode()))],
    )
    params["datasets"]["cifar10"]["path"], params["datasets"]["flickr8k"]["path"] = str(labelled), str(captioned)
    made = project(tmp_path / "work", params)
    stages = made.repro()
    assert "train@clip" in stages
    assert {row["n_items"] for row in scores(made, "classification")["rows"]} == {12 * 5}
    assert scores(made, "retrieval")["rows"]
    assert "Zero-shot classification" in shown(made)


@pytest.mark.long
def test_captions_by_the_million_in_small(outside: Path, tmp_path: Path) -> None:
    params = yaml.safe_load(MILLIONS)
    for shard in range(2):
        members = []
        for n in range(40):
            words = f"a {list(tiny.COLOURS)[n % 6]} {tiny.THINGS[n % 15]} {shard} {n}"
            members += [(f"{shard}{n:05}.jpg", photo(97 * shard + n)), (f"{shard}{n:05}.txt", words.encode())]
        write_tar(tmp_path / "cc3m" / f"{shard:05}.tar", members)
    params["encoders"] = {name: local(entry, outside) for name, entry in params["encoders"].items()}
    params["views"]["dino"]["resolution"] = 28
    params["datasets"]["cc3m"]["path"] = str(tmp_path / "cc3m" / "{00000..00001}.tar")
    params["splits"] |= {"validation": 0.1, "test": 0.1}
    params["train"] |= {"epochs": 2, "min_steps": 0, "batch_size": 16}
    made = project(tmp_path / "work", params)
    assert {"train@default", "train@freeze-align", "report"} <= made.repro()
    config = json.loads((made.folder / "data" / "models" / "default" / "config.json").read_text())
    assert config["choices"] == {"kernel-ridge": {"features": "exact"}}
    assert {d["versus"] for d in scores(made, "retrieval")["differences"]} == {"freeze-align"}


def captioned(pictures: Path, classes: bool) -> None:
    """Pictures with captions; with `classes`, every second one has a class as well."""
    rows = []
    for number in range(48):
        picture(pictures / f"{number}.png", number)
        thing = tiny.THINGS[number % 12]
        rows.append((f"{number}.png", f"a {thing} {number}", *((thing, thing) if classes and number % 2 else ("", ""))))
    with open(pictures / "captions.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "caption", "concept", "classname"), *rows])


@pytest.mark.long
@pytest.mark.parametrize("own_set", [True, False], ids=["a set with its own splits", "some have a class"])
def test_classes_as_users_have_them(own_set: bool, outside: Path, tmp_path: Path) -> None:
    captioned(tmp_path / "pictures", classes=not own_set)
    params = yaml.safe_load(CAPTIONS)
    params["encoders"] = {
        "eye": local({"catalogue": "dinov2-small"}, outside),
        "words": local({"catalogue": "all-mpnet-base-v2"}, outside),
    }
    params["views"]["eye"]["resolution"] = 28
    params["datasets"]["mine"]["path"] = str(tmp_path / "pictures")
    params["splits"] = {"repeats": 2, "largest_family": 0.5}
    if own_set:  # as CIFAR: every class in train, val and test
        for number in range(54):
            split, name = ("train", "val", "test")[number // 3 % 3], CLASSES[number % 3]
            picture(tmp_path / "sorted" / split / name / f"{number}.png", 100 + number)
        params["datasets"]["sorted"] = {"source": "image-folder", "path": str(tmp_path / "sorted")}
        params["stores"]["pairs"]["sorted-eye"] = {"dataset": "sorted", "view": "eye", "encoder": "eye"}
    params["stores"]["prompts"] = {"classnames-words": {"dataset": "classnames", "view": "words", "encoder": "words"}}
    dataset = "sorted" if own_set else "mine"
    params["evaluate"]["tasks"]["classification"] = {"classes": [{"dataset": dataset, "label": "concept"}]}
    made = project(tmp_path / "work", params)
    assert "report" in made.repro()
    result = scores(made, "classification")
    top1 = next(row for row in result["rows"] if row["metric"] == "concept_top1_accuracy")
    if own_set:
        assert (top1["n_items"], top1["n_candidates"]) == (18 * 2, 3)
        summary = json.loads((made.folder / "data" / "splits" / "summary.json").read_text())
        assert summary["by_picture"] == ["sorted"]
    else:
        assert any("class" in line for line in result["left_out"]), result["left_out"]


@pytest.mark.long
def test_vectors_of_another_program_are_trained_on_without_an_encoder(tmp_path: Path) -> None:
    """Both sides are imported: pictures by a webdataset's keys, captions by their words."""
    draws = np.random.default_rng(0)
    hidden = draws.normal(size=(120, 6))
    sides = {kind: hidden @ draws.normal(size=(6, width)) for kind, width in (("img", 20), ("text", 12))}
    words = [f"a {list(tiny.COLOURS)[n % 6]} {tiny.THINGS[n % 15]} {n}" for n in range(len(hidden))]
    for shard in range(2):
        members, rows = [], range(60 * shard, 60 * shard + 60)
        for n in rows:
            picture(tmp_path / "one.png", n)
            members += [(f"{n:09}.png", (tmp_path / "one.png").read_bytes()), (f"{n:09}.txt", words[n].encode())]
        write_tar(tmp_path / "cc3m" / f"{shard:05}.tar", members)
        (tmp_path / "vectors/metadata").mkdir(parents=True, exist_ok=True)
        table = pa.table({"key": [f"{n:09}" for n in rows], "caption": [words[n] for n in rows]})
        pq.write_table(table, tmp_path / f"vectors/metadata/metadata_{shard}.parquet")
        for kind, values in sides.items():
            (tmp_path / f"vectors/{kind}_emb").mkdir(exist_ok=True)
            noisy = (values + draws.normal(size=values.shape))[rows.start : rows.stop].astype(np.float32)
            np.save(tmp_path / f"vectors/{kind}_emb/{kind}_emb_{shard}.npy", noisy)
    params = yaml.safe_load(MILLIONS)
    source = {"source": "imported", "model": str(tmp_path / "vectors")}
    head = {"kind": "closed-form", "local_tokens": "none", "image_input": "cls", "forms": {"cca": {}}}
    params["encoders"] = {"clip": {"modality": "image", **source}, "words": {"modality": "text", **source}}
    params["views"] = {"clip": {"encoder": "clip", "resolution": 224, "tier": "cls"}, "words": {"encoder": "words"}}
    params["datasets"]["cc3m"]["path"] = str(tmp_path / "cc3m" / "{00000..00001}.tar")
    params["stores"] = {
        "pairs": {f"cc3m-{name}": {"dataset": "cc3m", "view": name, "encoder": name} for name in ("clip", "words")}
    }
    params["curations"] = {"all": {"pool": ["cc3m"], "view": "clip"}}
    params["aligners"] = {"default": {"views": ["clip", "words"], "data": "all", "head": head}}
    params["splits"] = {"repeats": 1, "validation": 0.1, "test": 0.3}
    params["evaluate"] = {"tasks": {"retrieval": {"datasets": ["cc3m"], "recall_at": [1, 5]}}}
    params.pop("train", None)
    made = project(tmp_path / "work", params)
    assert {"checkpoint@clip", "encode@cc3m-clip", "train@default", "evaluate@retrieval", "report"} <= made.repro()
    store = FeatureStore.open(made.folder / "data/features/pairs/clip/cc3m")
    assert (len(store), store.reasons, store.shape("cls")[1:]) == (120, {}, (1, 20))
    rows_of = {row["metric"]: row for row in scores(made, "retrieval")["rows"]}
    found = rows_of["t2i_recall@5"]
    assert found["value"] > 2 * found["chance"] > 0
    aligner = Aligner.from_pretrained(made.folder / "data/models/default", device="cpu")
    with pytest.raises(CheckpointError, match="the encoder that made them is not here"):
        aligner.search(store, "a red kite")
    assert made.repro() == set()
