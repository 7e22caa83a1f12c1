"""All that the recipes read, as one safetensors file: the last layers of the features, the pairs and their splits."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.recipe_study.rows import PROMPTED
from pipeline.alignment.data.columns import image_columns, text_columns
from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.data.load import AlignmentData, Fusion
from pipeline.alignment.data.resident import ResidentFeatures
from pipeline.config import FusedView, Side, load_config
from pipeline.datasets.caption_pairs import CaptionPairs, read_caption_pairs, read_samples
from pipeline.datasets.samples import SPLITS
from pipeline.evaluation.caption_sets import RetrievalSet
from pipeline.features.views import open_view
from pipeline.paths import store_folder

VALIDATION = 0.1  # share, where the usual validation split is not to be used
IMAGES = {
    "vit": (("mean", 1), ("mean", 2), ("grid", 1)), "control": (("mean", 1), ("grid", 1)),
    **{f"{control}lite{size}": (("mean", 1),) for control in ("", "control-") for size in (0, 1, 2)},
}  # fmt: skip
TEXTS = (PROMPTED, "mpnet")  # beside that of the default; of both, views that are not stored are left out
FUSED = " + "  # between the names of views that are joined


@dataclass(frozen=True)
class Bundle:
    """Features, pairs and splits.

    Attributes:
        meta: repeats, seed, datasets, families, views and head of the default, and the ids of images in their order.
        tensors: `image/<view>/cls<layers>`, `image/<view>/<local tokens><layers>`, `text/<view>`; `pairs` (P, 5) int32:
            image row, text row, data set, family, whether it is for development; `splits` (P, R) int8.
    """

    meta: dict[str, Any]
    tensors: dict[str, Tensor]

    @classmethod
    def of_project(cls) -> "Bundle":
        """From params.yaml, data/splits and data/features."""
        params = load_config().params
        default = params.aligners["default"].model_dump(mode="json", exclude_unset=True)
        pool, repeats = params.curations[default["data"]].pool, params.splits.repeats
        pairs = read_caption_pairs(pool, repeats)
        development = {(d, i): bool(flag) for d, i, flag in read_samples(("dataset", "image_id", "development"), 0)}
        texts = [
            view
            for view in (default["views"][1], *TEXTS)
            if all(store_folder("pairs", view, one).is_dir() for one in pool)
        ]
        images = {
            view: open_view(view, pool)
            for view in IMAGES
            if all(store_folder("pairs", view, one).is_dir() for one in pool)
        }
        views = {**images, **{view: open_view(view, pool) for view in texts}}
        usable = np.ones(len(pairs), dtype=bool)
        for view, stores in views.items():
            ids = pairs.image_id if view in images else pairs.text_id
            for dataset, store in stores.items():
                inside = pairs.dataset == dataset
                usable[inside] &= store.servable(ids[inside])
        pairs = pairs.where(usable)
        tensors, rows = {}, {}
        for side, ids in (("image", pairs.image_id), ("text", pairs.text_id)):
            distinct, first, rows[side] = np.unique(ids.astype(str), return_index=True, return_inverse=True)
            for view in images if side == "image" else texts:
                stores, offsets, total = views[view], {}, 0
                for dataset, store in stores.items():
                    offsets[dataset], total = total, total + len(store)
                places = np.array(
                    [
                        offsets[dataset] + int(stores[dataset].rows([identifier])[0])
                        for dataset, identifier in zip(pairs.dataset[first], distinct, strict=True)
                    ]
                )
                ordered = list(stores.values())
                if side == "text":
                    tensors[f"text/{view}"] = text_columns(ordered).take(places).tokens[:, 0].clone()
                    continue
                for local, layers in IMAGES[view]:
                    taken = image_columns(ordered, local, layers).take(places)
                    tensors[f"image/{view}/cls{layers}"] = taken.cls.clone()
                    tensors[f"image/{view}/{local}{layers}"] = taken.local.clone()
        families, family = np.unique(pairs.family.astype(str), return_inverse=True)
        flags = [development[key] for key in zip(pairs.dataset, pairs.image_id, strict=True)]
        sets = [pool.index(dataset) for dataset in pairs.dataset]
        table = np.stack([rows["image"], rows["text"], sets, family, flags], axis=1)
        tensors["pairs"] = torch.from_numpy(table.astype(np.int32))
        codes = [[SPLITS.index(split) for split in of_pair] for of_pair in pairs.splits]
        tensors["splits"] = torch.tensor(codes, dtype=torch.int8)
        meta = {
            "repeats": repeats, "seed": params.seed, "datasets": list(pool), "families": families.tolist(),
            "default": {key: default[key] for key in ("views", "head")}, "texts": texts, "images": list(images),
            "image_ids": np.unique(pairs.image_id.astype(str)).tolist(),
        }  # fmt: skip
        return cls(meta, tensors)

    @classmethod
    def read(cls, path: Path) -> "Bundle":
        """From a file that `write` wrote."""
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, it is no mapping
            return cls(json.loads(file.metadata()["meta"]), tensors)

    def write(self, path: Path) -> None:
        """As one safetensors file."""
        save_file(self.tensors, path, metadata={"meta": json.dumps(self.meta)})

    @property
    def repeats(self) -> int:
        """How many splits there are."""
        return int(self.meta["repeats"])

    def has(self, views: Sequence[str]) -> bool:
        """Whether the image views and the text views of a row are there."""
        stored = (self.meta["images"], self.meta["texts"])
        return all(one in there for view, there in zip(views, stored, strict=True) for one in view.split(FUSED))

    def images(self, view: str, local_tokens: str, layers: int) -> ImageInput:
        """What a head reads of every image; of views that are joined, their features in a row."""
        cls = self._joined([f"image/{one}/cls{layers}" for one in view.split(FUSED)])
        if local_tokens == "none":
            return ImageInput(cls, cls[:, None, :][:, :0])
        return ImageInput(cls, self._joined([f"image/{one}/{local_tokens}{layers}" for one in view.split(FUSED)]))

    def texts(self, view: str) -> TextInput:
        """What a head reads of every caption; of views that are joined, their features in a row."""
        return TextInput.from_pooled(self._joined([f"text/{one}" for one in view.split(FUSED)]))

    def data(
        self, view: str, text: str, local_tokens: str, layers: int, development: bool, device: Any
    ) -> AlignmentData:
        """What heads are fitted on, on `device`.

        Args:
            development: leave the families for development out of both splits.
        """
        place = torch.device(device)
        features = ResidentFeatures(
            self.images(view, local_tokens, layers).to(place),
            self.texts(text).to(place),
            torch.empty(0, device=place).device,
        )
        return AlignmentData(
            features=features,
            train=tuple(self._rows(repeat, "train", development).to(place) for repeat in range(self.repeats)),
            validation=tuple(self._rows(repeat, "validation", development).to(place) for repeat in range(self.repeats)),
            fingerprints={},
            datasets=tuple(self.meta["datasets"]),
            fusions=self._fusions(view, text),
        )

    def _fusions(self, view: str, text: str) -> dict[Side, Fusion]:
        sides: dict[Side, tuple[str, str, str]] = {"image": (view, "image", "/cls1"), "text": (text, "text", "")}
        return {
            side: Fusion(
                FusedView(concat=tuple(joined.split(FUSED))),
                tuple(self.tensors[f"{group}/{one}{end}"].shape[-1] for one in joined.split(FUSED)),
            )
            for side, (joined, group, end) in sides.items()
            if FUSED in joined
        }

    def _joined(self, names: Sequence[str]) -> Tensor:
        return torch.cat([self.tensors[name] for name in names], -1)

    def tested(self, repeat: int, development: bool) -> dict[str, RetrievalSet]:
        """Per data set its test pairs, or its pairs for development; ids are rows, written with leading zeros."""
        pairs, mask = self.tensors["pairs"].numpy(), self._flags() if development else self._split(repeat, "test")
        found = {}
        for number, dataset in enumerate(self.meta["datasets"]):
            image, text, _, family, _ = pairs[mask & (pairs[:, 2] == number)].T
            names = np.array(self.meta["families"], dtype=object)[family]
            empty = np.full(len(image), "", dtype=object)
            written = [np.array([f"{row:08d}" for row in rows], dtype=object) for rows in (image, text)]
            found[dataset] = RetrievalSet.of(CaptionPairs(empty, *written, empty, names, empty[:, None]))
        return found

    def _rows(self, repeat: int, split: str, development: bool) -> Tensor:
        if development:
            validation = self._validation(repeat)
            mask = validation if split == "validation" else self._fitted(repeat) & ~validation
        else:
            mask = self._split(repeat, split)
        return self.tensors["pairs"][torch.from_numpy(mask)][:, :2].long()

    def _fitted(self, repeat: int) -> np.ndarray:
        """Pairs of families that are neither tested in this repeat nor for development, (P,) bool."""
        return ~self._split(repeat, "test") & ~self._flags()

    def _validation(self, repeat: int) -> np.ndarray:
        """A tenth of the pairs to fit on, in whole families by hash; most of the usual ones are for development."""
        fitted, family = self._fitted(repeat), self.tensors["pairs"][:, 3].numpy()
        sizes = np.bincount(family[fitted], minlength=len(self.meta["families"]))
        room, chosen = round(VALIDATION * int(sizes.sum())), []
        for number in sorted(np.flatnonzero(sizes).tolist(), key=lambda one: self._order(repeat, one)):
            if sizes[number] <= room:
                chosen.append(number)
                room -= int(sizes[number])
        found: np.ndarray = fitted & np.isin(family, chosen)
        return found

    def _order(self, repeat: int, family: int) -> bytes:
        return hashlib.sha256(f"{repeat}:{self.meta['families'][family]}".encode()).digest()

    def _split(self, repeat: int, split: str) -> np.ndarray:
        found: np.ndarray = self.tensors["splits"][:, repeat].numpy() == SPLITS.index(split)
        return found

    def _flags(self) -> np.ndarray:
        found: np.ndarray = self.tensors["pairs"][:, 4].numpy() == 1
        return found


def row_numbers(ids: Sequence[str] | np.ndarray) -> Tensor:
    """Rows (n,) int64 from ids as `Bundle.tested` writes them."""
    return torch.tensor([int(identifier) for identifier in ids])
