"""The training data of an aligner: features of all its images and captions, resident on one device.

Every repeat splits the same features anew, so they are read once; a split is a list of rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from pipeline.alignment.curated import curated_pairs
from pipeline.alignment.inputs import ImageInput, TextInput
from pipeline.alignment.pairs import CaptionPairs, read_caption_pairs
from pipeline.alignment.views import open_view, read_images, read_texts
from pipeline.config.schema import AlignerSpec
from pipeline.errors import DataError
from pipeline.features import FeatureStore

Input = TypeVar("Input", ImageInput, TextInput)


@dataclass(frozen=True)
class AlignmentData:
    """Features, and the pairs of each split.

    Attributes:
        images: one row per distinct image.
        texts: one row per distinct caption.
        train, validation: one (P, 2) int64 tensor per repeat: row in `images`, row in `texts`. `train` holds what the
            curation of the aligner selected; validation pairs are all there.
        fingerprints: fingerprint of the stores behind each view, by view.
        datasets: the data sets that had captions.
    """

    images: ImageInput
    texts: TextInput
    train: tuple[Tensor, ...]
    validation: tuple[Tensor, ...]
    fingerprints: dict[str, dict[str, Any]]
    datasets: tuple[str, ...]


def load_alignment_data(name: str, spec: AlignerSpec, repeats: int, device: torch.device) -> AlignmentData:
    """Read the features of the aligner `name` and join them with the splits.

    Pairs of samples that could not be encoded are left out, with a warning. Of the training pairs, only those of images
    that the curation selected for the repeat are kept.

    Raises:
        DataError: no data set has captions, a store lacks ids, the selection of training images is missing or was made
            from other splits, or a split of some repeat is empty.
        StoreError: a store is missing or damaged.
        FingerprintMismatch: the stores of a view were not all written by the same encoder and settings.
    """
    pairs = read_caption_pairs(spec.data, repeats)
    datasets = tuple(dataset for dataset in spec.data if (pairs.dataset == dataset).any())
    if not datasets:
        raise DataError(
            f"Aligner {name!r} has nothing to train on: none of its data sets ({', '.join(spec.data)}) has English "
            "captions in data/splits. See the logs of the stage index for what was unavailable."
        )
    images, texts = open_view(spec.image, datasets), open_view(spec.text, datasets)
    usable = np.ones(len(pairs), dtype=bool)
    for dataset in datasets:
        inside = pairs.dataset == dataset
        usable[inside] = images[dataset].servable(pairs.image_id[inside])
        usable[inside] &= texts[dataset].servable(pairs.text_id[inside])
    pairs = pairs.where(usable)
    curated = curated_pairs(spec.curation, pairs, repeats)

    image_rows, image_inputs = _gather(
        pairs, pairs.image_id, images, lambda store, ids: read_images(store, ids, spec.local_tokens)
    )
    text_rows, text_inputs = _gather(pairs, pairs.text_id, texts, read_texts)
    joined = torch.from_numpy(np.stack([image_rows, text_rows], axis=1)).to(device)
    fingerprints = {spec.image: images[datasets[0]].fingerprint, spec.text: texts[datasets[0]].fingerprint}
    return AlignmentData(
        images=ImageInput(
            torch.cat([part.cls for part in image_inputs]), torch.cat([part.local for part in image_inputs])
        ).to(device),
        texts=TextInput(torch.cat([part.tokens for part in text_inputs])).to(device),
        train=tuple(
            _rows(joined, (pairs.splits[:, repeat] == "train") & curated[:, repeat], name, repeat, "train")
            for repeat in range(repeats)
        ),
        validation=tuple(
            _rows(joined, pairs.splits[:, repeat] == "validation", name, repeat, "validation")
            for repeat in range(repeats)
        ),
        fingerprints=fingerprints,
        datasets=datasets,
    )


def _gather(
    pairs: CaptionPairs,
    ids: np.ndarray,
    stores: Mapping[str, FeatureStore],
    read: Callable[[FeatureStore, np.ndarray], Input],
) -> tuple[np.ndarray, list[Input]]:
    """Row of each id among the distinct ids of all data sets, and the features of those, data set by data set."""
    row_of: dict[str, int] = {}
    parts = []
    for dataset, store in stores.items():
        new = [i for i in dict.fromkeys(ids[pairs.dataset == dataset].tolist()) if i not in row_of]
        row_of.update({identifier: len(row_of) + offset for offset, identifier in enumerate(new)})
        parts.append(read(store, np.array(new, dtype=object)))
    return np.array([row_of[identifier] for identifier in ids], dtype=np.int64), parts


def _rows(joined: Tensor, mask: np.ndarray, name: str, repeat: int, split: str) -> Tensor:
    inside = np.flatnonzero(mask)
    if len(inside) < 2:
        raise DataError(
            f"Aligner {name!r}: the {split} split of repeat {repeat} has {len(inside)} pairs; at least 2 are needed. "
            "Change `splits` or the curation of the aligner in params.yaml, or add data."
        )
    return joined[torch.from_numpy(inside).to(joined.device)]
