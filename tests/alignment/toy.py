"""A small world on disk: tables, feature stores with a planted relation, prompts, and params that fit.

Every concept has a hidden vector; its pictures and its caption are linear images of that vector plus noise. View
`control` holds the same features given to the wrong pictures, so nothing can be learnt from it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
import zarr

from pipeline.config import Config, load_config
from pipeline.datasets.tables import JOINT_PAIRS, PROMPTS, text_id, write_table
from pipeline.features.layout import ArraySpec, create_group
from pipeline.features.reader import ROWS_FILE

ROOT = Path(__file__).parents[2]
HIDDEN, VISION, TEXT, GRID = 6, 24, 16, 4
TEMPLATES = {"single": ["a picture of a {}."], "ensemble": ["a picture of a {}.", "a {}."]}


def write_store(
    folder: Path,
    ids: list[str],
    arrays: dict[str, np.ndarray],
    digest: str,
    bad: tuple[str, ...] = (),
    compared: dict[str, Any] | None = None,
) -> None:
    """A feature store as `pipeline.features` reads it; the samples `bad` could not be encoded."""
    specs = [ArraySpec(name, value.shape[1:], str(value.dtype)) for name, value in arrays.items()]
    attributes = {
        "fingerprint": {"digest": digest, "compared": compared or {}, "described": {}},
        "arrays": list(arrays),
    }
    create_group(folder, specs, len(ids), 64, attributes)
    for name, value in arrays.items():
        zarr.open_array(str(folder / name), mode="r+")[:] = value
    reasons = ["unreadable" if identifier in bad else None for identifier in ids]
    write_table(pa.table({"id": ids, "reason": pa.array(reasons, pa.string())}), folder / ROWS_FILE)


@dataclass
class World:
    """What was planted; `write` puts it into `root`."""

    root: Path
    families: int = 40
    concepts_per_family: int = 3
    repeats: int = 2
    bad_images: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ("emoji", "stamps")
    crops: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)

    def write(self) -> "World":
        rng = np.random.default_rng(7)
        hidden = rng.normal(size=(self.families * self.concepts_per_family, HIDDEN))
        to_image, to_text = rng.normal(size=(HIDDEN, VISION)), rng.normal(size=(HIDDEN, TEXT))
        split_of = [self._splits(rng) for _ in range(self.repeats)]
        prompts: list[dict[str, Any]] = []
        prompt_vectors: dict[str, np.ndarray] = {}
        for dataset in self.datasets:
            captions: dict[str, np.ndarray] = {}
            images: dict[str, np.ndarray] = {}
            for concept, z in enumerate(hidden):
                family = concept // self.concepts_per_family
                name = f"thing{concept}"
                caption = text_id(name)
                captions.setdefault(caption, z @ to_text + 0.05 * rng.normal(size=TEXT))
                for style in range(2):
                    image = f"{dataset}-{concept}-{style}"
                    images[image] = z @ to_image + 0.2 * rng.normal(size=VISION)
                    splits = {f"split_{i}": split_of[i][family] for i in range(self.repeats)}
                    self.samples.append(
                        {"dataset": dataset, "image_id": image, "concept": name, "classname": name}
                        | {"category": f"kind{family % 5}", "family": f"family{family}"}
                        | splits
                    )
                    self.pairs += [
                        {
                            "dataset": dataset,
                            "image_id": image,
                            "text_id": caption,
                            "language": "en",
                            "role": "caption",
                        },
                        {"dataset": dataset, "image_id": image, "text_id": "x", "language": "de", "role": "caption"},
                    ]
                for label, value in (("concept", name), ("category", f"kind{family % 5}")):
                    for group, templates in TEMPLATES.items():
                        for position, template in enumerate(templates):
                            identifier = text_id(template.format(value))
                            prompt_vectors.setdefault(identifier, z @ to_text + 0.1 * rng.normal(size=TEXT))
                            row = {"dataset": dataset, "label": label, "classname": value, "value": value}
                            row |= {"set": group, "template": position, "text_id": identifier}
                            if row not in prompts:
                                prompts.append(row)
            order = rng.permutation(list(images))  # stores keep their own order: rows are joined by id
            features = np.stack([images[i] for i in order])
            self._image_store("vit", dataset, order.tolist(), features)
            self._image_store("control", dataset, order.tolist(), rng.permutation(features))
            self._text_store("pairs", dataset, captions)
        self._text_store("prompts", "classnames", prompt_vectors)
        write_table(pa.Table.from_pylist(self.samples), self.root / "data/splits/samples.parquet")
        self.rewrite_pairs(self.pairs)
        self.write_selection("all")
        write_table(
            pa.Table.from_pylist(prompts, schema=PROMPTS), self.root / "data/index/prompts/classnames/prompts.parquet"
        )
        return self

    def rewrite_pairs(self, pairs: list[dict[str, Any]]) -> None:
        table = pa.Table.from_pylist(pairs, schema=JOINT_PAIRS)
        write_table(table, self.root / "data/splits/pairs.parquet")

    def write_selection(self, name: str, leave_out: Collection[str] = (), add: Sequence[dict[str, Any]] = ()) -> None:
        """The curation `name`: every training image but those in `leave_out`, and the rows `add`."""
        rows = [
            {"repeat": repeat, "dataset": sample["dataset"], "image_id": sample["image_id"]}
            for repeat in range(self.repeats)
            for sample in self.samples
            if sample[f"split_{repeat}"] == "train" and sample["image_id"] not in leave_out
        ]
        table = pa.Table.from_pylist([*rows, *add])
        write_table(table, self.root / "data/curation" / name / "selected.parquet")

    def config(self, **changes: dict[str, Any]) -> Config:
        """The project's own params.yaml, made small; `changes` go into its sections."""
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        views = {"default": "vit", "control": "control"}
        params["aligners"] = {
            name: {"views": [view, "minilm"], "data": "all", "head": {"kind": "freeze-align"}}
            for name, view in views.items()
        }
        del params["fused"]
        params["splits"]["repeats"] = self.repeats
        params["train"] |= {
            "epochs": 25,
            "min_steps": 0,
            "patience": 0,
            "batch_size": 64,
            "warmup_steps": 5,
            "device": "cpu",
        }
        params["evaluate"] |= {"bootstrap": 300, "device": "cpu", "versus": {}, "control": "control"}
        for task in ("retrieval", "multilingual"):
            params["evaluate"]["tasks"][task]["datasets"] = list(self.datasets)
        for section, change in changes.items():
            params[section] = params.get(section, {}) | change
        path = self.root / "params.yaml"
        path.write_text(yaml.safe_dump(params))
        return load_config(path)

    def _splits(self, rng: np.random.Generator) -> list[str]:
        order = rng.permutation(self.families)
        names = np.array(["train"] * self.families, dtype=object)
        names[order[: self.families // 4]] = "test"
        names[order[self.families // 4 : self.families // 4 + self.families // 8]] = "validation"
        return names.tolist()

    def _image_store(self, view: str, dataset: str, ids: list[str], features: np.ndarray) -> None:
        rng = np.random.default_rng(3)
        grid = features[:, None, :] + 0.1 * rng.normal(size=(len(ids), GRID, VISION))
        arrays = {"cls": features[:, None, :], "mean": grid.mean(axis=1, keepdims=True), "grid": grid}
        if self.crops:
            shapes = {name: (len(ids), self.crops, *value.shape[1:]) for name, value in arrays.items()}
            noise = {name: 0.1 * rng.normal(size=shape) for name, shape in shapes.items()}
            arrays |= {f"crop_{name}": arrays[name][:, None] + noise[name] for name in shapes}
        half = {name: value.astype(np.float16) for name, value in arrays.items()}
        write_store(self.root / f"data/features/pairs/{view}/{dataset}", ids, half, f"digest-{view}", self.bad_images)

    def _text_store(self, group: str, dataset: str, vectors: dict[str, np.ndarray]) -> None:
        pooled = np.stack(list(vectors.values())).astype(np.float16)
        folder = self.root / f"data/features/{group}/minilm/{dataset}"
        write_store(folder, list(vectors), {"pooled": pooled}, "digest-minilm")
