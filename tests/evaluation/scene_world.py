"""Composed scenes on disk with random features and random heads: enough to check every figure against a slow way."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import zarr

from pipeline.alignment.heads.freeze_align import FreezeAlign
from pipeline.alignment.saved import HeadConfig, head_entry, save_heads
from pipeline.config import (
    EvaluatedAligner,
    EvaluateParams,
    EvaluationViews,
    FitSpec,
    FreezeAlignHead,
    LongTextParams,
    SceneLabels,
    ScenesSpec,
    SegmentationParams,
)
from pipeline.datasets.scenes import Scenes, build_scenes, read_scenes
from pipeline.datasets.tables import PROMPTS, SAMPLES, text_id, write_table
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.features.layout import ArraySpec, create_group
from pipeline.features.reader import ROWS_FILE
from tests.datasets.cut_outs import NAMES, cut_outs

WIDTH, SHARED, SIDE, SIZE, REPEATS = 8, 6, 4, 64, 2
LENGTHS = (4, 9)
PARAMS = EvaluateParams(control="control", showcase="default", examples=3, bootstrap=200, device="cpu")
SEGMENTATION = SegmentationParams(
    scenes="composed",
    classes=(SceneLabels(dataset="cut", label="category"), SceneLabels(dataset="cut", label="concept")),
    prompt_set="both",
)
LONG_TEXT = LongTextParams(scenes="composed", recall_at=(1, 5))
HEAD = FreezeAlignHead(kind="freeze-align")
IMAGES = {"weights": "w", "modality": "image", "resolution": 28, "tier": "grid", "grid": 2}
TEXTS = {"weights": "t", "modality": "text", "max_tokens": None}
DENSE = IMAGES | {"resolution": 56, "tier": "full", "grid": None}
CHUNK = 4
LONG = TEXTS | {"max_tokens": 9, "truncations": list(LENGTHS), "chunk_tokens": CHUNK}
CROP = {"preprocessing": {"resize": {"shortest_edge": 32}, "crop": {"height": 28, "width": 28}}}


def write_features(
    folder: Path,
    ids: list[str],
    arrays: dict[str, np.ndarray],
    compared: dict[str, Any],
    bad: tuple[str, ...] = (),
    **notes: Any,
) -> None:
    """A feature store with random but given content."""
    specs = [ArraySpec(name, value.shape[1:], str(value.dtype)) for name, value in arrays.items()]
    fingerprint = {"digest": str(sorted(compared.items(), key=str)), "compared": compared, "described": CROP}
    create_group(folder, specs, len(ids), 64, {"fingerprint": fingerprint, "arrays": list(arrays), **notes})
    for name, value in arrays.items():
        zarr.open_array(str(folder / name), mode="r+")[:] = value
    reasons = ["unreadable" if identifier in bad else None for identifier in ids]
    write_table(pa.table({"id": ids, "reason": pa.array(reasons, pa.string())}), folder / ROWS_FILE)


@dataclass
class SceneWorld:
    """Aligners `default` and `control` with all views, `plain` with none; one scene may fail to be encoded."""

    root: Path
    bad_scene: int | None = None
    specs: dict[str, EvaluatedAligner] = field(default_factory=dict)
    heads: dict[tuple[str, int], FreezeAlign] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    patch: dict[str, np.ndarray] = field(default_factory=dict)
    cls: dict[str, np.ndarray] = field(default_factory=dict)
    truncated: np.ndarray = field(default_factory=lambda: np.empty(0))
    chunked: np.ndarray = field(default_factory=lambda: np.empty(0))
    prompt_ids: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    prompt_vectors: dict[str, np.ndarray] = field(default_factory=dict)

    def write(self) -> "SceneWorld":
        data = self.root / "data"
        index = cut_outs(data / "index/pairs/cut")
        params = ScenesSpec(pieces=("cut",), count=9, size=SIZE, objects=(2, 4))
        build_scenes({"cut": index}, params, data / "index/scenes/composed")
        self._samples(data)
        self._prompts(data)
        scenes, rng = self.scenes(), np.random.default_rng(1)
        bad = () if self.bad_scene is None else (str(scenes.ids[self.bad_scene]),)
        for view in ("eye", "blind"):
            self.patch[view] = rng.normal(size=(len(scenes), SIDE**2, WIDTH)).astype(np.float16)
            self.cls[view] = rng.normal(size=(len(scenes), 1, WIDTH)).astype(np.float16)
            arrays = {"cls": self.cls[view], "mean": self.patch[view].mean(axis=1, keepdims=True)}
            folder = data / f"features/scenes/{view}-dense/composed"
            arrays["patch"] = self.patch[view]
            write_features(folder, scenes.ids.tolist(), arrays, DENSE, bad, patch_grid=[SIDE, SIDE])
        self.truncated = rng.normal(size=(len(scenes), len(LENGTHS), WIDTH)).astype(np.float16)
        self.chunked = rng.normal(size=(len(scenes), WIDTH)).astype(np.float16)
        long = {"pooled": self.truncated[:, -1], "truncated": self.truncated, "chunked": self.chunked}
        write_features(data / "features/scenes/words-long/composed", scenes.captions.tolist(), long, LONG)
        pooled = {"pooled": np.stack(list(self.prompt_vectors.values()))}
        write_features(data / "features/prompts/words/classnames", list(self.prompt_vectors), pooled, TEXTS)
        for number, (name, view) in enumerate((("default", "eye"), ("control", "blind"), ("plain", "eye"))):
            fit = FitSpec(image=view, text="words", datasets=("cut",), data="all", head=HEAD)
            seen = EvaluationViews(dense=f"{view}-dense", long_text="words-long")
            self.specs[name] = EvaluatedAligner(fit=fit, evaluation=EvaluationViews() if name == "plain" else seen)
            self._heads(name, view, number)
        return self

    def scenes(self) -> Scenes:
        return read_scenes(self.root / "data/index/scenes/composed")

    def aligners(self) -> list[TrainedAligner]:
        """Call with the working directory in `root`."""
        return [TrainedAligner(name, spec, REPEATS, torch.device("cpu")) for name, spec in self.specs.items()]

    def _samples(self, data: Path) -> None:
        from pipeline.datasets.scenes.pool import read_pieces

        for piece in read_pieces({"cut": data / "index/pairs/cut"}):
            number = NAMES.index(piece.concept)
            family = NAMES[number - number % 2]  # pairs of concepts
            splits = {f"split_{r}": "test" if (number // 2 + r) % 3 == 0 else "train" for r in range(REPEATS)}
            row = {"dataset": "cut", "image_id": piece.image_id, "concept": piece.concept, "classname": piece.concept}
            self.samples.append(row | {"category": piece.category, "family": family} | splits)
        schema = pa.schema([*SAMPLES, *((f"split_{r}", pa.string()) for r in range(REPEATS))])
        write_table(pa.Table.from_pylist(self.samples, schema=schema), data / "splits/samples.parquet")

    def _prompts(self, data: Path) -> None:
        rng = np.random.default_rng(2)
        rows = []
        for label in ("concept", "category"):
            for value in sorted({row[label] for row in self.samples}):
                for group, templates in (("first", ("a {}",)), ("both", ("a {}", "the {}"))):
                    for position, template in enumerate(templates):
                        identifier = text_id(template.format(value))
                        self.prompt_vectors.setdefault(identifier, rng.normal(size=WIDTH).astype(np.float16))
                        row = {"dataset": "cut", "label": label, "classname": value, "value": value, "set": group}
                        rows.append(row | {"template": position, "text_id": identifier})
                        if group == "both":
                            self.prompt_ids.setdefault((label, value), []).append(identifier)
        write_table(pa.Table.from_pylist(rows, schema=PROMPTS), data / "index/prompts/classnames/prompts.parquet")

    def _heads(self, name: str, view: str, seed: int) -> None:
        folder = self.root / "data/models" / name
        for repeat in range(REPEATS):
            torch.manual_seed(10 * seed + repeat)
            head = FreezeAlign(WIDTH, WIDTH, SHARED).eval()
            self.heads[name, repeat] = head
            save_heads(head, folder, repeat)
        texts = {"digest": str(sorted(TEXTS.items(), key=str)), "compared": TEXTS, "described": {}}
        HeadConfig(
            aligner=name,
            head=head_entry(HEAD),
            views={"image": view, "text": "words"},
            widths={"image": WIDTH, "text": WIDTH},
            embed_dim=SHARED,
            fingerprints={"image": {"digest": "x", "compared": IMAGES, "described": {}}, "text": texts},
            data=("cut",),
            repeats=REPEATS,
            seeds=tuple(range(REPEATS)),
            best_epochs=(1,) * REPEATS,
            parameters=1,
        ).write(folder)
