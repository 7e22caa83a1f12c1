"""Captions and images of the test split, each the queries and candidates of the other."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.coded import Coded
from pipeline.datasets.caption_pairs import LANGUAGE, CaptionPairs
from pipeline.evaluation.cohorts import Cohort, Measured, joined
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.metrics import chance_at, first_hit_ranks, hits_at, positive_counts
from pipeline.evaluation.sample import MOST_RETRIEVED, sample_note, sampled_repeats


@dataclass(frozen=True)
class RetrievalSet:
    """The test items of one repeat.

    Attributes:
        images, texts: (N,), (M,) distinct ids.
        image_families, text_families: their concept families; a caption of several has the first in sorted order.
        positives: (P, 2) int64, position in `images`, position in `texts`.
    """

    images: np.ndarray
    texts: np.ndarray
    image_families: np.ndarray
    text_families: np.ndarray
    positives: np.ndarray

    @classmethod
    def of(cls, pairs: CaptionPairs) -> "RetrievalSet":
        """All images and captions of `pairs`."""
        images, image_at = np.unique(pairs.image_id.astype(str), return_inverse=True)
        texts, text_at = np.unique(pairs.text_id.astype(str), return_inverse=True)
        return cls(
            images,
            texts,
            _first_family(image_at, pairs.family),
            _first_family(text_at, pairs.family),
            np.stack([image_at, text_at], axis=1),
        )

    def side(self, direction: str) -> tuple[np.ndarray, np.ndarray, int]:
        """Of the queries of a direction ("i2t" or "t2i"): family, number of positives; and the number of candidates."""
        if direction == "i2t":
            return self.image_families, positive_counts(self.positives, len(self.images)), len(self.texts)
        return self.text_families, positive_counts(self.positives[:, ::-1], len(self.texts)), len(self.images)

    def ranks(self, images: np.ndarray, texts: np.ndarray) -> dict[str, np.ndarray]:
        """Rank of the first positive of each query, by direction; from the vectors of images and texts."""
        return {
            "t2i": first_hit_ranks(texts, images, self.positives[:, ::-1]),
            "i2t": first_hit_ranks(images, texts, self.positives),
        }


def retrieval_sets(
    pairs: CaptionPairs,
    dataset: str,
    repeats: int,
    aligners: Sequence[TrainedAligner],
    left_out: list[str],
) -> dict[int, RetrievalSet]:
    """Per repeat the test pairs that every aligner has features of, so that all answer the same queries.

    Repeats without any are absent. Of too many images a sample is taken, see `sampled`.

    Args:
        left_out: told what the sample leaves out.
    """
    tested = pairs.where((pairs.dataset == dataset) & (pairs.splits == "test").any(axis=1))
    if not len(tested):
        return {}
    usable = [
        aligner.has_image(dataset, tested.image_id) & aligner.has_text("pairs", dataset, tested.text_id)
        for aligner in aligners
    ]
    return tested_by_repeat(tested.where(np.all(usable, axis=0)), repeats, dataset, left_out)


def tested_by_repeat(pairs: CaptionPairs, repeats: int, dataset: str, left_out: list[str]) -> dict[int, RetrievalSet]:
    """The pairs in the test split of each repeat, as `retrieval_sets` gives them."""
    test = pairs.splits == "test"
    kept = sampled_repeats(pairs.image_id, test, MOST_RETRIEVED)
    if note := sample_note(pairs.image_id, test, kept, dataset):
        left_out.append(note)
    tests = {repeat: pairs.where(kept[:, repeat]) for repeat in range(repeats)}
    return {repeat: RetrievalSet.of(test) for repeat, test in tests.items() if len(test)}


def both_ways(
    tested: Mapping[int, RetrievalSet], dataset: str, aligners: Sequence[TrainedAligner]
) -> dict[str, dict[str, np.ndarray]]:
    """Rank of the first positive by direction (i2t, t2i) and aligner, the repeats one after another."""
    collected: dict[str, dict[str, list[np.ndarray]]] = {"i2t": defaultdict(list), "t2i": defaultdict(list)}
    for aligner in aligners:
        for repeat, items in tested.items():
            images = aligner.image_vectors(repeat, dataset, items.images)
            texts = aligner.text_vectors(repeat, "pairs", dataset, items.texts)
            for way, ranks in items.ranks(images, texts).items():
                collected[way][aligner.name].append(ranks)
    return {way: joined(by_aligner) for way, by_aligner in collected.items()}


def recall(
    direction: str,
    dataset: str,
    tested: Mapping[int, RetrievalSet],
    ranks: Mapping[str, np.ndarray],
    recall_at: Sequence[int],
    language: str = LANGUAGE,
) -> tuple[Cohort, list[Measured]]:
    """The queries of one direction, and recall@k on them.

    Args:
        ranks: per aligner (n,) int64, as `both_ways` gives them.
    """
    sides = [items.side(direction) for items in tested.values()]
    families = {repeat: side[0] for repeat, side in zip(tested, sides, strict=True)}
    cohort = Cohort.of_repeats(dataset, families, [candidates for _, _, candidates in sides], language=language)
    measured = [
        Measured(
            metric=f"{direction}_recall@{k}",
            chance=np.concatenate([chance_at(counts, candidates, k) for _, counts, candidates in sides]),
            outcomes={name: hits_at(by_query, k) for name, by_query in ranks.items()},
        )
        for k in recall_at
    ]
    return cohort, measured


def _first_family(positions: np.ndarray, families: Coded) -> np.ndarray:
    """Family of each distinct item (n,), the first in sorted order where it has several."""
    order = np.lexsort((families.astype(str), positions))
    _, first = np.unique(positions[order], return_index=True)
    return np.asarray(families[order[first]].astype(str))
