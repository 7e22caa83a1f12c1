"""Sounds in the DAG: no picture and no text is encoded again, and the aligner that they are added to stays as it is."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.dag import tiny
from tests.dag.conftest import copied
from tests.dag.project import Project
from tests.dag.reruns import edited, rerun, stores_of

pytestmark = pytest.mark.dag

RATE = 8_000
MAP = {"kind": "closed-form", "local_tokens": "none", "image_input": "cls", "forms": {"ridge": {"ridge": 1.0}}}
SCORES = "evaluate@cross_retrieval"


def write_sounds(folder: Path) -> int:
    """A tone for every thing in every colour, in a folder of that name, and its caption beside it."""
    for row, thing in enumerate(tiny.THINGS):
        for column, colour in enumerate(tiny.COLOURS):
            path = folder / f"{colour} {thing}" / "tone.wav"
            path.parent.mkdir(parents=True)
            time = np.arange(RATE // 5) / RATE
            wave = np.sin(2 * np.pi * (150 + 90 * row) * time) + 0.5 * np.sin(2 * np.pi * (400 + 200 * column) * time)
            soundfile.write(path, 0.3 * wave, RATE)
            path.with_suffix(".txt").write_text(f"a {colour} {thing}\n")
    return len(tiny.THINGS) * len(tiny.COLOURS)


def digests(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file() and path.suffix in (".safetensors", ".json")
            and path.name != "metrics.json"}  # fmt: skip


def test_sounds_join_without_encoding_anything_again(first_run: Project, tmp_path: Path) -> None:
    project = copied(first_run, tmp_path / "work")
    params, sounds = project.params(), write_sounds(tmp_path / "sounds")
    source = {"source": "audio-folder", "path": str(tmp_path / "sounds"), "captions": "beside"}
    stores = params["stores"]["pairs"] | {
        f"sounds-{view}": {"dataset": "sounds", "view": view, "encoder": encoder}
        for view, encoder in (("ear", "ear"), ("words", "words"))
    }
    added = {"to": "default", "view": "ear", "by": "words", "data": "heard", "head": MAP}
    tasks = params["evaluate"]["tasks"] | {
        "cross_retrieval": {"sets": [{"dataset": "sounds", "between": ["audio", "text"]}]}
    }
    with (
        edited(project, "encoders", params["encoders"] | {"ear": {"catalogue": "log-mel-statistics"}}),
        edited(project, "views", params["views"] | {"ear": {"encoder": "ear", "seconds": 1.0}}),
        edited(project, "datasets", params["datasets"] | {"sounds": source}),
        edited(project, "stores.pairs", stores),
        edited(project, "curations", params["curations"] | {"heard": {"pool": ["sounds"], "view": "ear"}}),
        edited(project, "added", {"further": added}),
        edited(project, "evaluate.tasks", tasks),
    ):
        stages, rows = rerun(project, "train_added@further")
        assert "train_added@further" in stages
        assert "encode@sounds-ear" in stages
        assert rows["sounds-ear"] == sounds
        before = [name for name in stores_of(project) if not name.startswith("sounds")]
        assert not [name for name in before if rows[name]], "no picture and no text goes through a backbone again"
        assert rows["sounds-words"] <= 1, "captions that pictures have as well are known"
        models = project.folder / "data/models"
        assert digests(models / "further/space") == digests(models / "default")
        assert rerun(project, "train_added@further") == (set(), {})
        with edited(project, "added", {"further": added | {"head": MAP | {"forms": {"kernel-ridge": {}}}}}):
            assert rerun(project, "train_added@further")[0] == {"train_added@further"}
        stages, rows = rerun(project, SCORES)
        assert SCORES in stages
        assert not [name for name in stages if name.startswith(("index", "checkpoint", "encode"))]  # but splits
        assert (project.folder / "data/results/cross_retrieval.json").is_file()
