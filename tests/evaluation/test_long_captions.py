"""Long captions of a data set, two per image, checked against a slow way; only its test split is looked at."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional as F

from pipeline.datasets.tables import JOINT_PAIRS, SAMPLES, write_table
from pipeline.errors import StoreError
from pipeline.evaluation.long_text import evaluate_long_text
from pipeline.evaluation.results import Evaluated
from tests.evaluation.scene_world import (
    CHUNK,
    IMAGES,
    LENGTHS,
    LONG,
    LONG_TEXT,
    PARAMS,
    REPEATS,
    WIDTH,
    SceneWorld,
    write_features,
)

PICTURES = 10
LATER = LONG_TEXT.model_copy(update={"datasets": ("docs",)})


def split_of(picture: int, repeat: int) -> str:
    return "test" if (picture + repeat) % 2 == 0 else "train"


class Documents:
    """A data set `docs` beside the scenes of a world; picture 4 could not be encoded."""

    def __init__(self, root: Path) -> None:
        self.world = SceneWorld(root).write()
        rng, data = np.random.default_rng(5), root / "data"
        self.images = [f"picture-{number}" for number in range(PICTURES)]
        self.texts = [f"text-{number}-{copy}" for number in range(PICTURES) for copy in range(2)]
        self.cls = rng.normal(size=(PICTURES, 1, WIDTH)).astype(np.float16)
        self.grid = rng.normal(size=(PICTURES, 4, WIDTH)).astype(np.float16)
        self.truncated = rng.normal(size=(2 * PICTURES, len(LENGTHS), WIDTH)).astype(np.float16)
        self.chunked = rng.normal(size=(2 * PICTURES, WIDTH)).astype(np.float16)
        for view in ("eye", "blind"):
            folder = data / f"features/pairs/{view}/docs"
            write_features(folder, self.images, {"cls": self.cls, "grid": self.grid}, IMAGES, ("picture-4",))
            path = folder / "zarr.json"
            content = json.loads(path.read_text())
            content["attributes"]["fingerprint"]["digest"] = "x"  # of the features that the heads of the world took
            path.write_text(json.dumps(content))
        long = {"pooled": self.truncated[:, -1], "truncated": self.truncated, "chunked": self.chunked}
        write_features(data / "features/pairs/words-long/docs", self.texts, long, LONG)
        samples = [
            {"dataset": "docs", "image_id": image, "concept": image, "family": image}
            | {f"split_{repeat}": split_of(number, repeat) for repeat in range(REPEATS)}
            for number, image in enumerate(self.images)
        ]
        schema = pa.schema([*SAMPLES, *((f"split_{repeat}", pa.string()) for repeat in range(REPEATS))])
        both = pa.Table.from_pylist([*self.world.samples, *samples], schema=schema)
        write_table(both, data / "splits/samples.parquet")
        pairs = [
            {"dataset": "docs", "image_id": self.images[number // 2], "text_id": text, "language": "en", "role": "long"}
            for number, text in enumerate(self.texts)
        ]
        write_table(pa.Table.from_pylist(pairs, schema=JOINT_PAIRS), data / "splits/pairs.parquet")

    def slow_ranks(self, repeat: int, length: int | None) -> dict[str, list[int]]:
        """Ranks of the aligner `default`, counted one by one; None: in pieces."""
        head = self.world.heads["default", repeat]
        kept = [number for number in range(PICTURES) if split_of(number, repeat) == "test" and number != 4]
        owners = np.repeat(kept, 2)
        texts = np.array([2 * number + copy for number in kept for copy in range(2)])
        with torch.no_grad():
            local = head.vision_local(torch.from_numpy(self.grid[kept]).float()).mean(dim=1)
            images = F.normalize(head.vision_cls(torch.from_numpy(self.cls[kept, 0]).float()) + local, dim=-1)
            values = self.chunked[texts] if length is None else self.truncated[texts, length]
            words = F.normalize(head.text_global(head.text_token(torch.from_numpy(values).float())), dim=-1)
        scores = (words @ images.T).numpy()
        t2i = [
            1 + sum(scores[t, i] >= scores[t, kept.index(owner)] for i in range(len(kept)) if kept[i] != owner)
            for t, owner in enumerate(owners)
        ]
        i2t = [
            1
            + sum(
                scores[t, i] >= scores[owners == kept[i], i].max() for t in range(len(owners)) if owners[t] != kept[i]
            )
            for i in range(len(kept))
        ]
        return {"t2i": t2i, "i2t": i2t}


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    return Documents(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="module")
def evaluated(documents: Documents) -> Evaluated:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(documents.world.root)
        return evaluate_long_text(documents.world.aligners(), LATER, PARAMS, REPEATS, 0)


def test_recall_equals_the_slow_way(documents: Documents, evaluated: Evaluated) -> None:
    rows = {
        (row.metric, row.tokens): row
        for row in evaluated.result.rows
        if (row.aligner, row.dataset) == ("default", "docs")
    }
    assert len(rows) == 2 * 2 * (len(LENGTHS) + 1)
    for place, tokens in [*enumerate(LENGTHS), (None, CHUNK)]:
        by_repeat = [documents.slow_ranks(repeat, place) for repeat in range(REPEATS)]
        for way in ("t2i", "i2t"):
            ranks = np.array([rank for ranks in by_repeat for rank in ranks[way]])
            for k in (1, 5):
                row = rows[f"{way}_recall@{k}{'' if place is not None else '_chunked'}", tokens]
                assert row.value == pytest.approx((ranks <= k).mean())
                assert row.n_items == len(ranks)
    assert rows["t2i_recall@1", LENGTHS[0]].chance == pytest.approx((8 / 4 + 10 / 5) / 18)  # 4, then 5 pictures


def test_scenes_stay_beside_it(evaluated: Evaluated) -> None:
    assert {row.dataset for row in evaluated.result.rows} == {"composed", "docs"}
    assert any(line.startswith("default: t2i_recall@1 on docs is highest at") for line in evaluated.result.sentences)


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Documents(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/features/pairs/words-long/docs").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="words-long/docs"):
        evaluate_long_text(made.world.aligners(), LATER, PARAMS, REPEATS, 0)
    table = pa.Table.from_pylist([], schema=JOINT_PAIRS)
    write_table(table, tmp_path / "data/splits/pairs.parquet")
    found = evaluate_long_text(made.world.aligners(), LATER, PARAMS, REPEATS, 0)
    assert 'docs: no captions of role "long" in en in the test split' in found.result.left_out
