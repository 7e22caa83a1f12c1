"""`permafrost init` on what people have: what it says, and that params.yaml of it is valid and read by the sources."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from pipeline.commands.project import HYDRA
from pipeline.config import load_config
from pipeline.datasets.index import build_index
from tests.commands.conftest import Command

ROOT = Path(__file__).resolve().parents[2]


def pictures(folder: Path, count: int, name: str = "{}.png", red: int = 0) -> list[Path]:
    paths = [folder / name.format(number) for number in range(count)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + number, 20), (red, 9, 90)).save(path)
    return paths


def captions_csv(root: Path) -> Path:
    paths = pictures(root, 61)
    lines = [f"{path.name},picture {number}" for number, path in enumerate(paths)]
    (root / "captions.csv").write_text("\n".join(["file,caption", *lines]) + "\n")
    return root


def beside(root: Path) -> Path:
    for number, path in enumerate(pictures(root, 61, "sub folder/{}.JPG")):
        path.with_suffix(".txt").write_text(f"picture {number}\n")
    return root


def classes(root: Path) -> Path:
    for red, name in enumerate(("cat", "dog", "sea_horse")):
        pictures(root / name, 21, name + "{}.png", red)
    return root


def table_in_french(root: Path) -> Path:
    paths = pictures(root / "images", 61)
    rows = [f"images/{path.name}\timage {number}\tfr" for number, path in enumerate(paths)]
    (root / "list.tsv").write_text("\n".join(["Path\tText\tlanguage", *rows]) + "\n")
    return root / "list.tsv"


def json_lines(root: Path) -> Path:
    paths = pictures(root, 61)
    rows = [json.dumps({"file_name": path.name, "text": f"picture {number}"}) for number, path in enumerate(paths)]
    (root / "metadata.jsonl").write_text("\n".join(rows) + "\n")
    return root


def tars(root: Path, member: str = "txt") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / "00000.tar", "w") as archive:
        for number in range(61):
            content = io.BytesIO()
            Image.new("RGB", (20, 20), (number, 9, 90)).save(content, "PNG")
            caption = f"picture {number}" if member == "txt" else json.dumps({"caption": f"picture {number}"})
            for suffix, data in (("png", content.getvalue()), (member, caption.encode())):
                entry = tarfile.TarInfo(f"{number:04d}.{suffix}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return root


def tars_with_json(root: Path) -> Path:
    return tars(root, "json")


def saved_to_disk(root: Path) -> Path:
    root.mkdir()
    for name in ("state.json", "dataset_info.json"):
        (root / name).write_text("{}")
    return root


def empty(root: Path) -> Path:
    root.mkdir()
    return root


@pytest.mark.parametrize(
    ("make", "source", "samples"),
    [
        (captions_csv, "folder", 61),
        (beside, "image-folder", 61),
        (classes, "image-folder", 63),
        (table_in_french, "table", 61),
        (json_lines, "table", 61),
        (tars, "webdataset", 61),
        (tars_with_json, "webdataset", 61),
    ],
)
def test_what_is_found_is_written_and_read(
    make: Any, source: str, samples: int, clone: Path, tmp_path: Path, permafrost: Command
) -> None:
    answer = permafrost.json("init", make(tmp_path / "my [256 px] pictures"))
    assert answer["written"]
    assert answer["warnings"] == []
    params = load_config(clone / "params.yaml").params
    spec = params.datasets["mine"]
    assert spec.source == source
    about = build_index(spec, tmp_path / "index", tmp_path / "downloads", tmp_path / "work")
    assert about["counts"]["images"] == samples
    assert about["counts"]["failures"] == 0
    assert about["counts"]["texts"] > 0
    assert answer["next"][0] == "dvc repro train@mine"


def test_other_languages_take_the_encoder_that_reads_them(clone: Path, tmp_path: Path, permafrost: Command) -> None:
    permafrost("init", table_in_french(tmp_path / "raw"))
    params = load_config(clone / "params.yaml").params
    assert params.encoders["words"].model == "multilingual-e5-small"


def test_class_folders_are_scored_by_name(clone: Path, tmp_path: Path, permafrost: Command) -> None:
    permafrost("init", classes(tmp_path / "raw"))
    assert list(load_config(clone / "params.yaml").params.evaluate.named) == ["classification"]


def test_a_dry_run_writes_nothing_and_a_second_run_loses_nothing(
    clone: Path, tmp_path: Path, permafrost: Command
) -> None:
    raw = captions_csv(tmp_path / "raw")
    (clone / "params.yaml").write_text("seed: 7\n")
    (clone / "dvc.lock").write_text("of another run\n")
    assert "datasets:" in permafrost("init", raw, "--dry-run")
    assert (clone / "params.yaml").read_text() == "seed: 7\n"
    for _ in range(2):
        assert "before-init" in permafrost("init", raw)
    assert (clone / "params.before-init.yaml").read_text() == "seed: 7\n"
    assert (clone / "params.before-init-2.yaml").is_file()
    assert (clone / "dvc.before-init.lock").read_text() == "of another run\n"
    assert not (clone / "dvc.lock").exists()


def test_outside_of_a_clone_it_says_where_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, permafrost: Command
) -> None:
    raw = captions_csv(tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    permafrost("init", raw, code=1)
    assert "root of a clone" in permafrost.error
    permafrost("init", raw, "--dry-run")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "absent", "No file or folder at"),
        (lambda root: pictures(root, 3)[0].parent, "3 pictures and no captions. Put captions.csv"),
        (lambda root: pictures(root, 1)[0], "table of an unknown kind"),
        (empty, "neither pictures nor sounds nor tars nor a table"),
        (saved_to_disk, "save_to_disk"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_would_do(
    make: Any, message: str, clone: Path, tmp_path: Path, permafrost: Command
) -> None:
    permafrost("init", make(tmp_path / "raw"), code=1)
    assert message in permafrost.error
    assert not (clone / "params.yaml").exists()


@pytest.mark.usefixtures("clone")
def test_few_samples_and_pictures_that_are_elsewhere_are_said(tmp_path: Path, permafrost: Command) -> None:
    (tmp_path / "list.csv").write_text("image,caption\ngone.jpg,a cat\n")
    warnings = permafrost.json("init", tmp_path / "list.csv")["warnings"]
    assert "1 of 1 pictures are not at their paths, the first 'gone.jpg'" in warnings[0]
    assert "1 samples are few" in warnings[1]


@pytest.mark.usefixtures("clone")
def test_an_unknown_encoder_is_answered_with_the_nearest(tmp_path: Path, permafrost: Command) -> None:
    raw = captions_csv(tmp_path / "raw")
    permafrost("init", raw, "--image", "dinov2-smal", code=1)
    assert "Did you mean `dinov2-small`?" in permafrost.error
    permafrost("init", raw, "--image", "all-MiniLM-L6-v2", code=1)
    assert "no image encoder 'all-MiniLM-L6-v2'" in permafrost.error


def test_the_block_for_hydra_is_that_of_params_yaml() -> None:
    assert yaml.safe_load(HYDRA) == {"hydra": yaml.safe_load((ROOT / "params.yaml").read_text())["hydra"]}
