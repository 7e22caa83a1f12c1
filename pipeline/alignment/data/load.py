"""The training data of an aligner: where its images and captions lie, and which of them each split pairs.

Every repeat splits the same features anew; a split is a list of rows.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.alignment.data.batches import AlignerFeatures
from pipeline.alignment.data.columns import Columns, image_columns, text_columns
from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.data.memory import MODES, choose_mode
from pipeline.alignment.data.resident import ResidentFeatures
from pipeline.alignment.data.selection import curated_pairs
from pipeline.alignment.data.shared import SharedFeatures
from pipeline.alignment.data.split_pairs import SplitPairs
from pipeline.alignment.data.streaming import StreamedFeatures, reading_order
from pipeline.alignment.heads.base import Head
from pipeline.alignment.processes import ALONE, Processes
from pipeline.coded import Coded
from pipeline.config import TRAINED, AutoHead, FitSpec, FittedHead, FusedView, IdentityHead, LoadingParams, Side
from pipeline.config.modalities import DEFAULT, many
from pipeline.datasets.caption_pairs import CaptionPairs, read_pairs
from pipeline.datasets.sample_table import SampleTable
from pipeline.errors import DataError
from pipeline.features.by_id import RowsById
from pipeline.features.fused import FusedStore, modality_of
from pipeline.features.views import open_side
from pipeline.freed_memory import give_back

log = logging.getLogger(__name__)

FEW_BLOCKS = 16
_PIECE = 1 << 18  # pairs looked up together


@dataclass(frozen=True)
class Fusion:
    """A side of several views: the entry of its fused view, and how many features each of them has."""

    view: FusedView
    widths: tuple[int, ...]


@dataclass(frozen=True)
class Standing:
    """A space that stands: the head that makes its vectors, and their width."""

    head: Head
    width: int


@dataclass(frozen=True)
class AlignmentData:
    """Features, and the pairs of each split.

    Attributes:
        features: of the distinct images and the distinct captions, wherever they lie.
        train, validation: one (P, 2) int64 tensor per repeat: row of the image and row of the caption in `features`.
            They may be made when they are asked for, so that a repeat takes a byte a pair (`SplitPairs`).
            `train` holds what the curation of the aligner selected; validation pairs are all there.
        fingerprints: fingerprint of the stores behind the image view and the text view, by side.
        datasets: the data sets that had captions.
        concepts: (N,) int64 by image row, equal for images of one concept; where `positives: concept` asks for it.
        fusions: the sides whose features are those of several views in a row.
        processes: those that train on it together.
        standing: per repeat, the space whose vectors of texts stand still and are what is fitted to; none where both
            sides are fitted.
    """

    features: AlignerFeatures
    train: Sequence[Tensor]
    validation: Sequence[Tensor]
    fingerprints: dict[str, dict[str, Any]]
    datasets: tuple[str, ...]
    concepts: Tensor | None = None
    fusions: Mapping[Side, Fusion] = field(default_factory=dict)
    processes: Processes = ALONE
    standing: tuple[Standing, ...] = ()

    @property
    def modalities(self) -> tuple[str, str]:
        """What stands on the sides, by the fingerprints of their views."""
        image, text = (modality_of(self.fingerprints.get(side, {}), side) for side in DEFAULT)
        return image, text


def load_alignment_data(
    name: str,
    fit: FitSpec,
    repeats: int,
    device: torch.device,
    params: LoadingParams | None = None,
    processes: Processes = ALONE,
    standing: tuple[Standing, ...] = (),
) -> AlignmentData:
    """Join the features of the aligner `name` with the splits, and read them unless they are to be streamed.

    Pairs of samples that could not be encoded are left out, with a warning. Of the training pairs, only those of images
    that the curation selected for the repeat are kept. Streamed training pairs are in reading order, others in the
    order of the tables.

    Args:
        params: its `features`, `shuffle_block` and `shuffle_buffer_mb` say how the features are loaded.
        standing: as `AlignmentData` has it.
        processes: that train together. Their loading mode is one; features in host memory are those of the mapped
            stores, which all processes of a machine share.

    Raises:
        DataError: no data set has captions, a store lacks ids or the local tokens, the selection of training images is
            missing or was made from other splits, or a split of some repeat is empty.
        StoreError: a store is missing or damaged.
        FingerprintMismatch: the stores of a view were not all written by the same encoder and settings.
    """
    params = params or LoadingParams()
    head = fit.head
    assert not isinstance(head, IdentityHead), "head identity is fitted to nothing"
    first, second = fit.modality("image"), fit.modality("text")
    pairs = read_pairs(first, second, fit.datasets, repeats)
    datasets = tuple(dataset for dataset in fit.datasets if (pairs.dataset == dataset).any())
    if not datasets:
        raise DataError(
            f"Aligner {name!r} has nothing to train on: none of its data sets ({', '.join(fit.datasets)}) has "
            f"{_what(first, second)} in data/splits. See the logs of the stage index for what was unavailable."
        )
    curated = curated_pairs(fit.data, pairs, repeats, first)
    give_back()  # before stores hold their ids
    images = open_side(fit.image, fit.members("image"), datasets)
    texts = open_side(fit.text, fit.members("text"), datasets)
    usable = np.ones(len(pairs), dtype=bool)
    for dataset in datasets:
        inside = pairs.dataset == dataset
        usable[inside] = images[dataset].servable(pairs.image_id[inside])
        usable[inside] &= texts[dataset].servable(pairs.text_id[inside])
    if fit.kinds:
        usable &= _of_kinds(pairs, fit)
    pairs, curated = pairs.where(usable), curated[usable]
    crops = _kept_crops(images.values()) if head.crops else 0
    rows = np.empty((1 + crops, len(pairs), 2), np.int64)
    rows[0, :, 0] = _positions(pairs, pairs.image_id, images)
    rows[:, :, 1] = _positions(pairs, pairs.text_id, texts)
    for number in range(1, 1 + crops):
        rows[number, :, 0] = rows[0, :, 0] + number * sum(map(len, images.values()))
    splits = {
        "train": np.tile((pairs.splits == "train") & curated, (1 + crops, 1)),
        "validation": np.concatenate([pairs.splits == "validation", np.zeros((crops * len(pairs), repeats), bool)]),
    }
    codes = _concepts(pairs, first) if _by_concept(head) else None
    del pairs, curated, usable  # before features take their room
    for store in (*images.values(), *texts.values()):
        store.forget_ids()
    give_back()

    features, joined = _load(
        image_columns(list(images.values()), head.local_tokens, head.layers, crops),
        text_columns(list(texts.values()), head.text_tokens),
        rows.reshape(-1, 2),
        torch.empty(0, device=device).device,  # with its number, as the features have it
        params,
        processes,
    )
    concepts = None if codes is None else _by_row(codes, joined)
    if isinstance(features, StreamedFeatures):
        order = reading_order(joined)
        joined = joined[torch.from_numpy(order)]
        splits = {split: mask[order] for split, mask in splits.items()}
    train, validation = (SplitPairs(joined, mask, name, split) for split, mask in splits.items())
    if isinstance(features, StreamedFeatures):
        report_mixing(features, train)
    return AlignmentData(
        features=features,
        train=train,
        validation=validation,
        fingerprints={"image": images[datasets[0]].fingerprint, "text": texts[datasets[0]].fingerprint},
        datasets=datasets,
        concepts=concepts,
        fusions={
            side: Fusion(view, _widths(images if side == "image" else texts)) for side, view in fit.fusions.items()
        },
        processes=processes,
        standing=standing,
    )


def _widths(stores: Mapping[str, RowsById]) -> tuple[int, ...]:
    """How many features each view of a fused side has."""
    first = next(iter(stores.values()))
    assert isinstance(first, FusedStore)
    return first.widths


def _by_concept(head: FittedHead | AutoHead) -> bool:
    trained = head.trained if isinstance(head, AutoHead) else head
    return isinstance(trained, TRAINED) and trained.loss.positives == "concept"


def report_mixing(features: StreamedFeatures, train: Sequence[Tensor]) -> None:
    """Say how many pairs are mixed at a time, and warn where those come from too few places."""
    shuffle = features.shuffle(max(train, key=len))
    log.info("Streamed: %d of %d pairs are mixed at a time", shuffle.window_rows, shuffle.rows)
    if shuffle.window_rows < shuffle.rows and shuffle.window < FEW_BLOCKS:
        log.warning(
            "Only %d blocks of %d pairs are mixed at a time: neighbours in the store will meet too often. "
            "Raise train.shuffle_buffer_mb or lower train.shuffle_block in params.yaml",
            shuffle.window, shuffle.block,
        )  # fmt: skip


def _positions(pairs: CaptionPairs, ids: Coded, stores: Mapping[str, RowsById]) -> np.ndarray:
    """Position of each id over all stores in turn, (P,) int64: that in the first data set whose pairs name it."""
    position_of = np.full(len(ids.values), -1, np.int64)
    offset = 0
    for dataset, store in stores.items():
        named = np.zeros(len(position_of), dtype=bool)
        named[ids.codes[pairs.dataset == dataset]] = True
        new = np.flatnonzero(named & (position_of < 0))
        position_of[new] = store.rows(ids.values.take(new)) + offset
        offset += len(store)
    return np.asarray(position_of[ids.codes])


def _load(
    images: Columns[ImageInput],
    texts: Columns[TextInput],
    rows: np.ndarray,
    device: torch.device,
    params: LoadingParams,
    processes: Processes,
) -> tuple[AlignerFeatures, Tensor]:
    """The features as the loading mode has them, and the pairs (P, 2): rows in those features.

    Args:
        rows: (P, 2) int64, those of all stores in turn; changed in place.
    """
    image_set, text_set = _distinct(rows[:, 0]), _distinct(rows[:, 1])
    needed = len(image_set) * images.row_bytes + len(text_set) * texts.row_bytes
    mode = choose_mode(params.features, needed, device)
    if processes.several:
        mode = max(processes.of_all(mode), key=MODES.index)  # one order for all
    if mode == "stream":
        memory = params.shuffle_buffer_mb * 10**6
        return StreamedFeatures(images, texts, device, params.shuffle_block, memory, processes), torch.from_numpy(rows)
    for start in range(0, len(rows), _PIECE):
        piece = rows[start : start + _PIECE]
        piece[:, 0], piece[:, 1] = np.searchsorted(image_set, piece[:, 0]), np.searchsorted(text_set, piece[:, 1])
    places = torch.from_numpy(rows)
    if processes.several and (mode == "host" or device.type == "cpu"):
        log.info("They stay in the mapped stores, one copy for all processes of a machine")
        return SharedFeatures(images, texts, image_set, text_set, device, processes), places
    place = device if mode == "device" else torch.device("cpu")
    features = ResidentFeatures(images.take(image_set).to(place), texts.take(text_set).to(place), device, processes)
    return features, places.to(place)


def _distinct(rows: np.ndarray) -> np.ndarray:
    """The rows (n,) int64 that occur, sorted; without a sort of all of them."""
    occurs = np.zeros(int(rows.max(initial=-1)) + 1, dtype=bool)
    occurs[rows] = True
    return np.flatnonzero(occurs)


def _kept_crops(stores: Iterable[RowsById]) -> int:
    """How many crops of each image every store keeps.

    Raises:
        DataError: a store keeps none.
    """
    for store in stores:
        if "crop_cls" not in store.names:
            raise DataError(
                f"{store.folder} keeps no crops ({', '.join(store.names)}): set `crops` of its view in params.yaml, or "
                "crops: false of the aligner"
            )
    return min(store.shape("crop_cls")[1] for store in stores)


def _of_kinds(pairs: CaptionPairs, fit: FitSpec) -> np.ndarray:
    """Which pairs (P,) bool have a sound of the kinds that the aligner is fitted to."""
    side = fit.sides["audio"]
    samples, ids = SampleTable.read(("kind",), 0, "audio"), pairs.image_id if side == "image" else pairs.text_id
    wanted = np.isin(samples.columns["kind"].codes, [samples.columns["kind"].code(kind) for kind in fit.kinds])
    mask = np.zeros(len(pairs), dtype=bool)
    for dataset in pairs.dataset.values:
        inside = np.flatnonzero(pairs.dataset == dataset)
        rows = samples.find(dataset, ids[inside].ids())
        mask[inside] = wanted[rows] & (rows >= 0)
    return mask


def _what(first: str, second: str) -> str:
    """The pairs that are looked for, in words."""
    if second != "text":
        return f"pairs of {many(first)} and {many(second)}"
    return "English captions" if first == "image" else f"English captions of {many(first)}"


def _concepts(pairs: CaptionPairs, modality: str) -> Tensor:
    """The concept of the first of each pair, which is of `modality`, as a number, (P,) int64."""
    samples = SampleTable.read(("concept",), 0, modality)
    concept = samples.columns["concept"].sorted()
    codes_P = np.empty(len(pairs), np.int64)
    for dataset in pairs.dataset.values:
        inside = np.flatnonzero(pairs.dataset == dataset)
        codes_P[inside] = concept.codes[samples.find(dataset, pairs.image_id[inside].ids())]
    return torch.from_numpy(np.unique(codes_P, return_inverse=True)[1])


def _by_row(codes: Tensor, joined: Tensor) -> Tensor:
    """The concept of each image row of `joined`, (N,) int64; images of one concept share it.

    Args:
        codes: (P,) of the pairs.
        joined: (m * P, 2), the pairs of the images and then those of their crops.
    """
    codes = codes.to(joined.device).repeat(len(joined) // len(codes))
    by_row = torch.zeros(int(joined[:, 0].max()) + 1, dtype=torch.int64, device=joined.device)
    return by_row.index_put((joined[:, 0],), codes)
