"""Sounds in the DAG: what runs when they join pictures that are encoded, and after an edit to them or to their view."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.dag import tiny
from tests.dag.project import Project
from tests.dag.reruns import edited, rerun

pytestmark = pytest.mark.dag
COUNT = 12
STORES = ("encode@mine-eye", "encode@mine-words", "encode@mine-ear")


def write_sounds(folder: Path, count: int) -> None:
    from tests.datasets.sounds import noise, write

    for number in range(count):
        write(folder / f"{number}.wav", noise(number, 0.2 + 0.02 * number))


def write_captions(folder: Path, count: int, heard: bool) -> None:
    with open(folder / "captions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:count]
    for number, row in enumerate(rows):
        row |= {"audio": f"{number}.wav"} if heard else {}
    with open(folder / "captions.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)


def write_ear(folder: Path, seed: int) -> None:
    """A small HuBERT."""
    from pipeline.torchvision_fix import ensure_torchvision

    ensure_torchvision()
    import torch
    import transformers as hf

    from tests.encoders.audio_models import WAVE

    torch.manual_seed(seed)
    hf.HubertModel(hf.HubertConfig(**WAVE)).save_pretrained(folder)
    hf.Wav2Vec2FeatureExtractor().save_pretrained(folder)


def parameters(outside: Path) -> dict[str, Any]:
    whole = tiny.tiny_params(outside, COUNT)
    wanted = {key: whole[key] for key in ("seed", "datasets", "hydra")}
    kept = ("eye", "words")
    pairs = {f"mine-{name}": whole["stores"]["pairs"][f"mine-{name}"] for name in kept}
    return {
        **{key: {name: whole[key][name] for name in kept} for key in ("encoders", "views")},
        **wanted,
        "stores": {"pairs": pairs},
    }


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of pictures and captions, both encoded."""
    root = tmp_path_factory.mktemp("audio")
    outside = root / "outside"
    tiny.write_image_checkpoint(outside / "eye-a", 0)
    tiny.write_text_checkpoint(outside / "words-a", 1)
    tiny.write_pictures(outside / "pictures")
    write_captions(outside / "pictures", COUNT, heard=False)
    project = Project.started(root / "work", outside, parameters(outside))
    project.repro(*STORES[:2])
    project.commit("first run")
    assert project.passes() == Counter({"mine-eye": COUNT, "mine-words": COUNT})
    return project


def test_what_reruns_when_sounds_join_and_change(seen: Project) -> None:
    project, pictures = seen, seen.outside / "pictures"
    write_ear(project.outside / "ear-a", 0)
    write_ear(project.outside / "ear-b", 1)
    write_sounds(pictures, COUNT + 1)
    write_captions(pictures, COUNT, heard=True)
    params = project.params()
    ear = {"modality": "audio", "source": "local", "model": str(project.outside / "ear-a"), "loader": "transformers"}
    params["encoders"]["ear"] = ear | {"pooling": "mean"}
    params["views"]["ear"] = {"encoder": "ear", "seconds": 0.5}
    params["stores"]["pairs"]["mine-ear"] = {"dataset": "mine", "view": "ear", "encoder": "ear"}
    project.write_params(params)
    stages, rows = rerun(project, *STORES)
    assert stages == {"index@mine", "checkpoint@ear", *STORES}
    assert rows == Counter({"mine-ear": COUNT}), "no picture and no text is encoded again"

    with edited(project, "views.ear.seconds", 0.25):
        assert rerun(project, *STORES) == ({"encode@mine-ear"}, Counter({"mine-ear": COUNT}))
    with edited(project, "encoders.ear.model", str(project.outside / "ear-b")):
        assert rerun(project, *STORES) == ({"checkpoint@ear", "encode@mine-ear"}, Counter({"mine-ear": COUNT}))
    with edited(project, "views.eye.resolution", 42):
        stages, rows = rerun(project, *STORES)
    assert (stages, rows) == ({"encode@mine-eye"}, Counter({"mine-eye": COUNT})), "and the ear as it was is restored"

    with open(pictures / "captions.csv", encoding="utf-8") as file:
        lines = file.read().splitlines()
    again = lines[1].rpartition(",")[0]
    (pictures / "captions.csv").write_text("\n".join([*lines, f"{again},{COUNT}.wav"]) + "\n", encoding="utf-8")
    with edited(project, "datasets.mine.limit", COUNT + 1):
        stages, rows = rerun(project, *STORES)
    assert stages == {"index@mine", *STORES}
    assert rows == Counter({"mine-ear": 1}), "one more sound is one more row"
    verified = project.run("python", "-m", "pipeline.store", "verify", "data/features/pairs/ear/mine")
    assert "intact" in verified
