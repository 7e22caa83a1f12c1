"""What of a pool is dropped before anything is chosen, and why; the first reason that holds is the one that is told."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.concept_curations import ConceptCuration
from pipeline.curation.captions import length_in_words, not_latin, repeated, shared
from pipeline.curation.concepts import has_any
from pipeline.curation.duplicates import Groups, grouped, near_pairs, same_values, semantic_duplicates
from pipeline.curation.leaks import Leaks, leaks_by_features, leaks_by_hash, leaks_by_name
from pipeline.curation.perceptual import CUTS, copied_pairs, cut_hashes
from pipeline.curation.samples import SampleReader, Samples
from pipeline.curation.spaces import Space
from pipeline.datasets.decode import decode_rgb, read_bytes
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError
from pipeline.paths import index_folder

_BLOCK = 8192


class Reasons:
    """Why samples are dropped.

    Attributes:
        reason: (N,) of str or None.
        detail: (N,) of str or None: which sample, or which name.
    """

    def __init__(self, rows: int) -> None:
        self.reason = np.full(rows, None, object)
        self.detail = np.full(rows, None, object)

    @property
    def left(self) -> np.ndarray:
        """Rows (n,) int64 without a reason, ascending."""
        return np.flatnonzero(self.reason == None)  # noqa: E711  element by element

    def drop(self, rows: np.ndarray, reason: str, detail: np.ndarray | None = None) -> None:
        """Give rows (n,) int64 a reason, and a detail (n,) each; those that have one keep it."""
        fresh = self.reason[rows] == None  # noqa: E711
        self.reason[rows[fresh]] = reason
        if detail is not None:
            self.detail[rows[fresh]] = detail[fresh]


def clean(
    spec: ConceptCuration,
    samples: Samples,
    reader: SampleReader,
    space: Space,
    repeat: int,
    seed: int,
    hashes: "PictureHashes",
) -> Reasons:
    """Drop what a curation asks to drop, in the order of docs/curation.md: each step sees what is left.

    Raises:
        DataError, StoreError: tables or features are missing.
    """
    found = Reasons(len(samples))
    everything = np.arange(len(samples))
    found.drop(everything[~space.images.servable(samples)], "no features")
    if spec.needs_captions and space.captions is not None:
        found.drop(everything[~space.captions.servable(samples)], "no caption")
    if spec.hold_out:
        found.drop(everything[has_any(spec.hold_out, samples)], "held-out concept")
    _captions(spec, samples, found)
    _evaluation(spec, samples, reader, space, repeat, found, hashes)
    _duplicates(spec, samples, space, found, seed, hashes)
    if spec.needs_similarity:
        _similarity(spec, samples, space, found)
    return found


def pair_cosines(samples: Samples, space: Space) -> np.ndarray:
    """Cosine (N,) float32 of each picture with its caption."""
    assert space.captions is not None, "the curation names a view of texts"
    images, captions = space.images.vectors(samples), space.captions.vectors(samples)
    out = np.empty(len(samples), np.float32)
    for start in range(0, len(samples), _BLOCK):
        part = slice(start, start + _BLOCK)
        out[part] = np.einsum("ij,ij->i", images.unit(part).astype(np.float64), captions.unit(part))
    return out


def _captions(spec: ConceptCuration, samples: Samples, found: Reasons) -> None:
    asked, everything = spec.hygiene, np.arange(len(samples))
    if asked.words is not None:
        words = length_in_words(samples.text)
        low, high = asked.words
        found.drop(
            everything[(words < low) | (words > high)],
            "caption length",
            words[(words < low) | (words > high)].astype(str),
        )
    if asked.language is not None:
        found.drop(everything[not_latin(samples.text)], "caption language")
    if asked.repeated is not None:
        known = np.flatnonzero(np.array([bool(text) for text in samples.text], bool))
        often = repeated([samples.text[row] for row in known.tolist()], asked.repeated)
        found.drop(known[often], "repeated caption")


def _evaluation(
    spec: ConceptCuration,
    samples: Samples,
    reader: SampleReader,
    space: Space,
    repeat: int,
    found: Reasons,
    hashes: "PictureHashes",
) -> None:
    asked = spec.hygiene
    for name in asked.decontaminate:
        split = "test" if name in spec.pool else None
        if asked.same_caption:
            rows = found.left
            same = shared([samples.text[row] for row in rows.tolist()], reader.captions(name, repeat, split))
            found.drop(rows[same], f"evaluation caption of {name}", np.array(samples.text, object)[rows[same]])
        if asked.near is None and asked.hash_bits is None:
            continue
        kept_out = reader.of([name], repeat, split)
        rows = found.left
        if not len(kept_out) or not len(rows):
            continue
        here = samples.take(rows)
        ids = kept_out.pool.image_id.tolist()
        leaks = leaks_by_name(here.pool.image_id.tolist(), ids)
        if asked.near is not None:
            known = kept_out.take(np.flatnonzero(space.raw.servable(kept_out)))
            vectors = space.raw.vectors(known).unit(slice(None))
            by_features = leaks_by_features(space.raw.vectors(here), vectors, asked.near)
            places = np.flatnonzero(space.raw.servable(kept_out))
            of = np.where(by_features.of >= 0, places[by_features.of], -1)
            leaks = leaks.joined(Leaks(of, by_features.score))
        if asked.hash_bits is not None:
            leaks = leaks.joined(leaks_by_hash(hashes(here)[:, 0], hashes(kept_out), asked.hash_bits))
        at = np.flatnonzero(leaks.of >= 0)
        found.drop(rows[at], f"evaluation picture of {name}", np.array(ids, object)[leaks.of[at]])


def _duplicates(
    spec: ConceptCuration, samples: Samples, space: Space, found: Reasons, seed: int, hashes: "PictureHashes"
) -> None:
    asked = spec.hygiene
    if asked.exact:
        _drop_later(
            samples, found, found.left, same_values(samples.take(found.left).pool.image_id.codes), "same picture"
        )
    if asked.near is not None and len(found.left):
        rows = found.left
        pairs = near_pairs(space.raw.vectors(samples.take(rows)), asked.near, seed=seed)
        _drop_later(samples, found, rows, grouped(len(rows), *pairs), "near duplicate")
    if asked.hash_bits is not None and len(found.left):
        rows = found.left
        pairs = copied_pairs(hashes(samples.take(rows)), asked.hash_bits)
        _drop_later(samples, found, rows, grouped(len(rows), *pairs), "same perceptual hash")
    if asked.semantic is not None and len(found.left):
        rows = found.left
        dropped = semantic_duplicates(
            space.raw.vectors(samples.take(rows)), asked.semantic_clusters, asked.semantic, seed
        )
        found.drop(rows[dropped], "semantic duplicate")


def _drop_later(samples: Samples, found: Reasons, rows: np.ndarray, groups: Groups, reason: str) -> None:
    later = np.flatnonzero(~groups.first)
    kept = samples.pool.image_id[rows[groups.of[later]]]
    found.drop(rows[later], reason, np.array(kept.tolist(), object))


def _similarity(spec: ConceptCuration, samples: Samples, space: Space, found: Reasons) -> None:
    rows = found.left
    if not len(rows):
        return
    cosines = pair_cosines(samples.take(rows), space)
    least = -2.0 if spec.hygiene.floor is None else spec.hygiene.floor
    found.drop(rows[cosines < least], "caption unlike picture", cosines[cosines < least].round(4).astype(str))
    if spec.hygiene.worst is not None:
        count = int(len(rows) * spec.hygiene.worst)
        worst = np.sort(np.lexsort((np.arange(len(rows)), cosines))[:count])
        found.drop(rows[worst], "caption unlike picture", cosines[worst].round(4).astype(str))


class PictureHashes:
    """Hashes of pictures and cuts of them, each made once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], list[int]] = {}

    def __call__(self, samples: Samples) -> np.ndarray:
        """(N, 10) uint64; 0, as of an empty picture, where one cannot be read."""
        out = np.zeros((len(samples), CUTS), np.uint64)
        for name, rows in samples.by_dataset().items():
            ids = samples.pool.image_id[rows].tolist()
            fresh = [one for one in dict.fromkeys(ids) if (name, one) not in self._known]
            self._known.update({(name, one): value for one, value in zip(fresh, _hashes(name, fresh), strict=True)})
            for row, one in zip(rows.tolist(), ids, strict=True):
                out[row] = self._known[name, one]
        return out


def _hashes(dataset: str, ids: list[str]) -> Iterator[list[int]]:
    folder = index_folder("pairs", dataset)
    table = read_table(folder / "images.parquet", ["image_id", "path", "offset", "length"])
    places = pc.index_in(pa.array(ids, pa.string()), value_set=table.column("image_id")).to_pylist() if ids else []
    for identifier, place in zip(ids, places, strict=True):
        if place is None:
            raise DataError(f"{folder} has no picture {identifier}: index and splits are of different runs.")
        try:
            row = table.slice(place, 1).to_pylist()[0]
            yield cut_hashes(decode_rgb(read_bytes(row, folder)))
        except DataError:
            yield [0] * CUTS
