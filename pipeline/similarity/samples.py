"""The images and captions on which spaces are compared: English pairs, one row per image, none of the test split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.datasets.caption_pairs import CaptionPairs, read_caption_pairs
from pipeline.features import FeatureStore

MAX_SAMPLES = 4096
MAX_READ = 1 << 18  # images among which those samples are looked for


@dataclass(frozen=True)
class Captioned:
    """Images with their captions, in the order of their ids.

    Attributes:
        dataset, image_id, family: (N,) str.
        captions: text ids of each image, sorted; N tuples.
        splits: (N, R) str, the split of each image in each repeat.
        left_out: what is missing, in words.
    """

    dataset: np.ndarray
    image_id: np.ndarray
    family: np.ndarray
    captions: tuple[tuple[str, ...], ...]
    splits: np.ndarray
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.image_id)

    def outside_test(self, repeat: int) -> np.ndarray:
        """Rows of the train and validation splits of a repeat, (n,) int64, at most `MAX_SAMPLES`.

        An image is passed over if one of its captions belongs to an image before it: a repeated caption is not an
        independent sample, and rows with the same text have no correct order.
        """
        return self._first_with_own_captions(self.splits[:, repeat] != "test")

    def never_tested(self) -> np.ndarray:
        """Rows that are in the test split of no repeat, (n,) int64, as `outside_test`: what choices are made on."""
        return self._first_with_own_captions((self.splits != "test").all(axis=1))

    def _first_with_own_captions(self, usable: np.ndarray) -> np.ndarray:
        kept: list[int] = []
        seen: set[str] = set()
        for row in np.flatnonzero(usable).tolist():
            if len(kept) < MAX_SAMPLES and seen.isdisjoint(self.captions[row]):
                seen.update(self.captions[row])
                kept.append(row)
        return np.array(kept, dtype=np.int64)


def read_captioned(datasets: Sequence[str], repeats: int) -> Captioned:
    """Images of `datasets` with English captions.

    Raises:
        DataError: a table of data/splits is missing, or lacks a split.
    """
    pairs = read_caption_pairs(datasets, repeats)
    pairs, left_out = _in_id_order(pairs)
    by_image: dict[tuple[str, str], tuple[str, tuple[str, ...], set[str]]] = {}
    for dataset, image, text, family, splits in zip(
        pairs.dataset, pairs.image_id, pairs.text_id, pairs.family, pairs.splits.tolist(), strict=True
    ):
        by_image.setdefault((dataset, image), (family, tuple(splits), set()))[2].add(text)
    keys = sorted(by_image, key=lambda key: (key[1], key[0]))
    present = {dataset for dataset, _ in keys}
    return Captioned(
        dataset=np.array([key[0] for key in keys], dtype=object),
        image_id=np.array([key[1] for key in keys], dtype=object),
        family=np.array([by_image[key][0] for key in keys], dtype=object),
        captions=tuple(tuple(sorted(by_image[key][2])) for key in keys),
        splits=np.array([by_image[key][1] for key in keys], dtype=object).reshape(len(keys), repeats),
        left_out=(
            *(
                f"{dataset}: no English captions (is its source installed?)"
                for dataset in datasets
                if dataset not in present
            ),
            *left_out,
        ),
    )


def _in_id_order(pairs: CaptionPairs, most: int = MAX_READ) -> tuple[CaptionPairs, tuple[str, ...]]:
    """The pairs of the first `most` images in the order of their ids, and what that leaves out."""
    image, dataset = pairs.image_id.sorted().codes, pairs.dataset.sorted().codes
    keys = image.astype(np.int64) * len(pairs.dataset.values) + dataset
    distinct = np.unique(keys)
    if len(distinct) <= most:
        return pairs, ()
    note = f"{len(distinct) - most} of {len(distinct)} captioned images: the first {most} by their ids are looked at"
    return pairs.where(keys < distinct[most]), (note,)


def keep_servable(
    samples: Captioned, images: Sequence[Mapping[str, FeatureStore]], texts: Sequence[Mapping[str, FeatureStore]]
) -> Captioned:
    """The images that every store can serve, with all their captions.

    Args:
        images, texts: stores by data set, one mapping per view.

    Raises:
        DataError: a store lacks an id altogether.
    """
    usable = np.ones(len(samples), dtype=bool)
    for dataset in np.unique(samples.dataset.astype(str)):
        rows = np.flatnonzero(samples.dataset == dataset)
        captions = sorted({text for row in rows for text in samples.captions[row]})
        bad: set[str] = set()
        for view in texts:
            mask = view[dataset].servable(captions)
            bad.update(text for text, good in zip(captions, mask, strict=True) if not good)
        for view in images:
            usable[rows] &= view[dataset].servable(samples.image_id[rows])
        usable[rows] &= np.array([bad.isdisjoint(samples.captions[row]) for row in rows])
    lost = int((~usable).sum())
    note = (f"{lost} images could not be encoded by every candidate, or have such a caption",) if lost else ()
    return Captioned(
        samples.dataset[usable],
        samples.image_id[usable],
        samples.family[usable],
        tuple(samples.captions[row] for row in np.flatnonzero(usable)),
        samples.splits[usable],
        samples.left_out + note,
    )
