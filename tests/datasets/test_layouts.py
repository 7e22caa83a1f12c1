"""Every snippet of docs/datasets.md, on a small data set in the form of the original: indexed, encoded, read back."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

from pipeline.config import DatasetSpec
from pipeline.config.load import load_config, validate
from pipeline.datasets.index import build_index
from pipeline.datasets.tables import read_table
from pipeline.features.scratch import WORK_VARIABLE
from tests.dag.project import ROOT
from tests.datasets.encoders import TinyEncoders
from tests.datasets.layouts import LAYOUTS, indexed

DOC = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", DOC, flags=re.DOTALL)]
ENTRIES: dict[str, dict[str, Any]] = {name: entry for block in BLOCKS for name, entry in block["datasets"].items()}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> TinyEncoders:
    return TinyEncoders(tmp_path_factory.mktemp("encoders"))


def moved(value: Any, root: Path) -> Any:
    """The entry with the folder /data at `root`."""
    if isinstance(value, dict):
        return {key: moved(inner, root) for key, inner in value.items()}
    return str(root) + value.removeprefix("/data") if isinstance(value, str) and value.startswith("/data") else value


def test_every_layout_has_its_snippet_and_every_snippet_its_layout() -> None:
    assert set(ENTRIES) == set(LAYOUTS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_snippet(name: str, encoders: TinyEncoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    expected = LAYOUTS[name](tmp_path / name)
    spec: Any = TypeAdapter(DatasetSpec).validate_json(TypeAdapter(Any).dump_json(moved(ENTRIES[name], tmp_path)))
    index = tmp_path / "index"
    about = build_index(spec, index, tmp_path)
    assert read_table(index / "failures.parquet").to_pylist() == []
    assert indexed(index) == expected
    assert about["counts"]["images"] == len(expected)

    images, summary = encoders.images(index, tmp_path / "eye")
    assert summary.encoded == len(expected)
    assert images.ids.tolist() == read_table(index / "images.parquet")["image_id"].to_pylist()
    assert images.valid.all()
    last = len(expected) - 1
    stored = images.read("cls", images.ids[-1:])[0].astype(np.float32)
    np.testing.assert_allclose(stored, encoders.direct(index, last), atol=2e-2)
    texts, _ = encoders.texts(index, tmp_path / "words")
    assert set(texts.ids) == set(read_table(index / "texts.parquet")["text_id"].to_pylist())
    assert texts.valid.all()


def test_the_first_snippet_completes_params_yaml() -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params.pop("hydra")
    for section, entries in BLOCKS[0].items():
        if section == "stores":
            params["stores"]["pairs"].update(entries["pairs"])
        else:
            params[section].update(entries)
    assert "mine" in validate(params).aligners
    load_config(ROOT / "params.yaml")


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("mine", "parquet", "cc3m"):
        LAYOUTS[name](tmp_path / name)
        spec: Any = TypeAdapter(DatasetSpec).validate_json(TypeAdapter(Any).dump_json(moved(ENTRIES[name], tmp_path)))
        for run in ("one", "two"):
            build_index(spec, tmp_path / run / name, tmp_path, tmp_path / "known")
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert files == sorted(
        path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("*") if path.is_file()
    )
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)
