"""Images and long captions on which text length is measured: composed scenes, and captions of role "long"."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.datasets.caption_pairs import LANGUAGE, read_caption_pairs, samples_by_image
from pipeline.datasets.scenes import Scenes, read_scenes
from pipeline.datasets.scenes.build import ROLE
from pipeline.errors import DataError
from pipeline.evaluation.caption_sets import RetrievalSet, tested_by_repeat
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.findings import Findings
from pipeline.evaluation.scenes import GROUP, LongTexts, SceneImages
from pipeline.features.by_id import SomeIds
from pipeline.paths import index_folder


class Images(Protocol):
    """Images through an aligner."""

    def servable(self, ids: SomeIds) -> np.ndarray:
        """Which images could be encoded, (n,) bool."""

    def image_vectors(self, repeat: int, ids: np.ndarray) -> np.ndarray:
        """Unit vectors (n, K) float32."""


@dataclass(frozen=True)
class LongSet:
    """One data set through every aligner that takes part.

    Attributes:
        group, name: of its index.
        tests: images, captions and which belong together, by repeat.
        images, texts: per aligner.
    """

    group: str
    name: str
    tests: Mapping[int, RetrievalSet]
    images: Mapping[str, Images]
    texts: Mapping[str, LongTexts]


class _StoredImages:
    """The images of a data set through the image view of an aligner."""

    def __init__(self, aligner: TrainedAligner, dataset: str) -> None:
        self._aligner, self._dataset = aligner, dataset

    def servable(self, ids: SomeIds) -> np.ndarray:
        return self._aligner.has_image(self._dataset, ids)

    def image_vectors(self, repeat: int, ids: np.ndarray) -> np.ndarray:
        return self._aligner.image_vectors(repeat, self._dataset, ids)


def scene_set(name: str, aligners: Sequence[TrainedAligner], repeats: int, findings: Findings) -> LongSet | None:
    """The composed scenes `name` that every aligner could encode, the same in every repeat; None if there are none.

    An aligner needs a dense view, or head identity, which sees scenes through its image view.

    Raises:
        DataError: scenes and splits do not fit each other.
        StoreError, FingerprintMismatch: as for `SceneImages` and `LongTexts`.
    """
    scenes = read_scenes(index_folder(GROUP, name))
    images: dict[str, SceneImages] = {}
    texts: dict[str, LongTexts] = {}
    for aligner in aligners:
        views = {"dense": aligner.spec.scenes, "long_text": aligner.spec.evaluation.long_text}
        lacking = [key for key, view in views.items() if view is None]
        if lacking:
            where = f"aligners.{aligner.name}.evaluation"
            findings.left_out.append(f"{aligner.name}: no {' and no '.join(lacking)} view ({where})")
        elif len(scenes):
            images[aligner.name] = SceneImages(aligner, str(aligner.spec.scenes), name)
            texts[aligner.name] = LongTexts(aligner, str(aligner.spec.evaluation.long_text), GROUP, name)
    if not images:
        if not len(scenes):
            findings.left_out.append(f"{name}: no scene was composed")
        return None
    usable = _usable(images, texts, scenes.ids, scenes.captions)
    if not usable.any():
        findings.left_out.append(f"{name}: no scene could be encoded through every view")
        return None
    families = _families(scenes, repeats)[usable]
    own = np.stack([np.arange(int(usable.sum()))] * 2, axis=1)
    items = RetrievalSet(scenes.ids[usable], scenes.captions[usable], families, families, own)
    return LongSet(GROUP, name, dict.fromkeys(range(repeats), items), images, texts)


def caption_set(dataset: str, aligners: Sequence[TrainedAligner], repeats: int, findings: Findings) -> LongSet | None:
    """The English captions of role "long" of a data set, in the test split of each repeat; None if there are none.

    Raises:
        DataError: tables of the splits are missing.
        StoreError, FingerprintMismatch: as for `LongTexts`.
    """
    taking_part = [aligner for aligner in aligners if aligner.spec.evaluation.long_text]
    pairs = read_caption_pairs((dataset,), repeats, role=ROLE)
    pairs = pairs.where((pairs.splits == "test").any(axis=1))
    if not len(pairs) or not taking_part:
        what = (
            f'captions of role "{ROLE}" in {LANGUAGE} in the test split'
            if taking_part
            else "aligner with evaluation.long_text"
        )
        findings.left_out.append(f"{dataset}: no {what}")
        return None
    images: dict[str, Images] = {aligner.name: _StoredImages(aligner, dataset) for aligner in taking_part}
    texts = {a.name: LongTexts(a, str(a.spec.evaluation.long_text), "pairs", dataset) for a in taking_part}
    pairs = pairs.where(_usable(images, texts, pairs.image_id, pairs.text_id))
    tests = tested_by_repeat(pairs, repeats, dataset, findings.left_out)
    if not tests:
        findings.left_out.append(f"{dataset}: no test pair could be encoded through every view")
        return None
    return LongSet("pairs", dataset, tests, images, texts)


def _usable(
    images: Mapping[str, Images], texts: Mapping[str, LongTexts], image_ids: SomeIds, text_ids: SomeIds
) -> np.ndarray:
    """Which pairs of image and caption every aligner has features of, (n,) bool."""
    usable: np.ndarray = np.all(
        [images[name].servable(image_ids) & texts[name].servable(text_ids) for name in images], axis=0
    )
    return usable


def _families(scenes: Scenes, repeats: int) -> np.ndarray:
    """Concept family of the largest object of each scene, (N,) str."""
    samples = samples_by_image(("family",), repeats)
    largest = {thing.scene: (thing.dataset, thing.piece_id) for thing in reversed(scenes.objects)}
    lacking = [piece for piece in largest.values() if piece not in samples]
    if lacking or len(largest) < len(scenes):
        what = f"picture {lacking[0][1]!r} of {lacking[0][0]}" if lacking else "an object in every scene"
        raise DataError(f"Scenes and data/splits do not fit: {what} is missing. Bring them together with: dvc repro")
    return np.array([samples[largest[scene]][0] for scene in range(len(scenes))], dtype=str)
