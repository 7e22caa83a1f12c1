"""Choosing among what hygiene leaves: by concepts, by clusters or by chance, and why the rest is not chosen."""

from dataclasses import dataclass, field

import numpy as np

from pipeline.config.concept_curations import ConceptCuration
from pipeline.curation.approximate import Approximate, retrieve_by_index
from pipeline.curation.assignment import Assignment
from pipeline.curation.clusters import balanced_draw, cluster
from pipeline.curation.concepts import NamedConcept, Prototypes, concept_prototypes, named_concepts
from pipeline.curation.hygiene import Reasons
from pipeline.curation.keywords import Entries, cap
from pipeline.curation.quotas import Difference, best_in_total, density_counts, difference, level_counts, rare_first
from pipeline.curation.retrieval import Candidates
from pipeline.curation.samples import Samples
from pipeline.curation.spaces import Space
from pipeline.curation.streamed import retrieve_streamed
from pipeline.curation.vectors import PoolVectors

_MORE_CANDIDATES = 4  # than the quota, as concepts share some


@dataclass(frozen=True)
class Choice:
    """What is kept of the samples of one repeat.

    Attributes:
        rows: (n,) int64 in the order in which they were chosen.
        concept: (N,) int64 by sample, the concept that took it, or the nearest whose candidate it was; -1 for none.
        score: (N,) float32, its cosine with that prototype; NaN for none.
        rank: (N,) int64, its place among that concept's candidates from 1; 0 for none.
        prototypes: of the concepts, if there are any.
        candidates: of each concept, how many.
        difference: from the best assignment in total, where that was computed.
        index: what an index found, where one was used.
    """

    rows: np.ndarray
    concept: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    prototypes: Prototypes | None = None
    candidates: int = 0
    difference: Difference | None = None
    index: Approximate | None = None
    counts: dict[str, int] = field(default_factory=dict)


def choose(
    spec: ConceptCuration, samples: Samples, found: Reasons, space: Space, seed: int, device: str = "cpu"
) -> Choice:
    """Choose `images` samples of those without a reason; the others get one.

    Raises:
        DataError: the concepts name nothing.
    """
    concepts = named_concepts(spec.concepts, samples) if spec.concepts else []
    if spec.cap is not None:
        _cap(spec.cap, concepts, samples, found, seed)
    rows = found.left
    here = samples.take(rows)
    if spec.balance == "concepts":
        return _by_concepts(spec, concepts, samples, found, space, seed, device)
    if spec.balance == "none" or not len(rows):
        chosen = here.pool.in_hash_order(np.arange(len(rows)), seed)[: spec.images]
        return _plain(rows[chosen], samples, found, "not drawn")
    vectors = space.raw.vectors(here)
    if spec.balance == "clusters":
        levels = tuple(min(groups, len(rows)) for groups in spec.levels)
        return _plain(rows[balanced_draw(vectors, levels, spec.images, seed)], samples, found, "cluster full")
    return _plain(rows[_by_density(vectors, spec.levels[0], spec.images, seed)], samples, found, "cluster full")


def _by_density(vectors: PoolVectors, groups: int, images: int, seed: int) -> np.ndarray:
    """Of each cluster as many as its density gives it, the least typical first, as density-based pruning does."""
    clusters = cluster(vectors, groups, seed)
    counts = density_counts(clusters.sizes, clusters.inter, clusters.intra, images)
    order = np.lexsort((np.arange(len(vectors)), -clusters.distance, clusters.of))
    order = order[clusters.of[order] >= 0]
    of = clusters.of[order]
    first = np.searchsorted(of, np.arange(len(counts)))
    return np.asarray(order[np.arange(len(of)) - first[of] < counts[of]])


def _by_concepts(
    spec: ConceptCuration,
    concepts: list[NamedConcept],
    samples: Samples,
    found: Reasons,
    space: Space,
    seed: int,
    device: str,
) -> Choice:
    rows = found.left
    places = np.full(len(samples), -1, np.int64)
    places[rows] = np.arange(len(rows))
    here = samples.take(rows)
    left = [NamedConcept(c.name, places[c.carriers][places[c.carriers] >= 0], c.by) for c in concepts]
    made = concept_prototypes(spec, left, here, space, seed)
    side = space.images if spec.against == "images" else space.captions
    assert side is not None, "the curation names a view of texts"
    weights = spec.mixture
    wanted = spec.images if weights is None else _rounded(spec.images, weights.concepts, weights.drawn)
    quota = spec.quota or -(-wanted // len(made.concepts))
    k = min(spec.candidates or max(_MORE_CANDIDATES * quota, 64), len(rows))
    pool = side.vectors(here)
    candidates, index = _retrieved(spec, pool, made.vectors, k, seed, device)
    taken, quotas = _assigned(spec, candidates, wanted, quota)
    best = best_in_total(candidates, quotas) if len(taken.rows) else None
    apart = None if best is None else difference(rare_first(candidates, quotas), best)
    if spec.assignment == "best" and best is not None:
        taken = _even(best, wanted)
    concept, score, rank = _nearest(candidates, taken, len(rows))
    drawn = np.empty(0, np.int64)
    if weights is not None and weights.drawn:
        rest = np.setdiff1d(np.arange(len(rows)), taken.rows)
        drawn = here.pool.in_hash_order(rest, seed)[: spec.images - len(taken.rows)]
    chosen = np.concatenate([taken.rows, drawn])
    lost = np.setdiff1d(np.arange(len(rows)), chosen)
    found.drop(rows[lost[concept[lost] < 0]], "no candidate of a concept")
    found.drop(rows[lost[concept[lost] >= 0]], "concept full")
    return Choice(
        rows[chosen],
        _spread(concept, rows, len(samples), -1),
        _spread(score, rows, len(samples), np.nan),
        _spread(rank, rows, len(samples), 0),
        Prototypes(
            [c for c in concepts if c.name in {m.name for m in made.concepts}], made.vectors, made.shots, made.without
        ),
        candidates.rows.shape[1],
        apart,
        index,
        {"concepts": len(taken.rows), "drawn": len(drawn)},
    )


def _retrieved(
    spec: ConceptCuration, pool: PoolVectors, prototypes: np.ndarray, k: int, seed: int, device: str
) -> tuple[Candidates, Approximate | None]:
    if spec.retrieval == "index" and k:
        index = retrieve_by_index(pool, prototypes, k, seed=seed)
        return index.candidates, index
    if spec.engine == "ray":
        from pipeline.curation.ray_retrieval import retrieve_on_ray  # Ray is an extra

        return retrieve_on_ray(pool, prototypes, k, spec.ray, device), None
    return retrieve_streamed(pool, prototypes, k, device=device), None


def _assigned(spec: ConceptCuration, candidates: Candidates, wanted: int, quota: int) -> tuple[Assignment, np.ndarray]:
    """Rare concepts first, each up to the quota; without one of their own, quotas rise until `wanted` are found."""
    concepts = len(candidates.rows)
    while True:
        quotas = np.full(concepts, quota, np.int64)
        taken = rare_first(candidates, quotas)
        if spec.quota or len(taken.rows) >= wanted or quota >= candidates.rows.shape[1]:
            return _even(taken, wanted), quotas
        quota = min(candidates.rows.shape[1], quota + max(1, (wanted - len(taken.rows)) // concepts))


def _even(taken: Assignment, wanted: int) -> Assignment:
    """At most `wanted` of the samples: the best of every concept, then the second of every concept, and so on."""
    place = np.zeros(len(taken.rows), np.int64)
    for concept in np.unique(taken.concept):
        mine = np.flatnonzero(taken.concept == concept)
        place[mine] = np.arange(len(mine))
    kept = np.lexsort((np.arange(len(place)), place))[:wanted]
    return Assignment(taken.rows[kept], taken.concept[kept], taken.scores[kept])


def _nearest(candidates: Candidates, taken: Assignment, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By row: the concept that took it or, of those it was a candidate of, the nearest; with score and rank."""
    concepts, k = candidates.rows.shape
    concept, score, rank = np.full(rows, -1, np.int64), np.full(rows, np.nan, np.float32), np.zeros(rows, np.int64)
    owner, place = np.divmod(np.arange(concepts * k), max(k, 1))
    flat, scores = candidates.rows.reshape(-1), candidates.scores.reshape(-1)
    order = np.lexsort((-owner, scores))  # the best last
    concept[flat[order]], score[flat[order]], rank[flat[order]] = owner[order], scores[order], place[order] + 1
    concept[taken.rows], score[taken.rows] = taken.concept, taken.scores
    for one in np.unique(taken.concept).tolist():
        mine = taken.rows[taken.concept == one]
        ranks = np.zeros(rows, np.int64)
        ranks[candidates.rows[one]] = np.arange(k) + 1
        rank[mine] = ranks[mine]
    return concept, score, rank


def _cap(most: int, concepts: list[NamedConcept], samples: Samples, found: Reasons, seed: int) -> None:
    rows = found.left
    entries = Entries([concept.name for concept in concepts])
    matches = [entries.matches(samples.text[row]) for row in rows.tolist()]
    ids = samples.pool.image_id[rows].tolist()
    capped = cap(matches, ids, len(concepts), most, seed)
    without = np.array([not one for one in matches], bool)
    found.drop(rows[without], "caption names no concept")
    found.drop(rows[~capped.kept & ~without], "over the cap of its concepts")


def _plain(chosen: np.ndarray, samples: Samples, found: Reasons, reason: str) -> Choice:
    found.drop(np.setdiff1d(found.left, chosen), reason)
    size = len(samples)
    return Choice(chosen, np.full(size, -1, np.int64), np.full(size, np.nan, np.float32), np.zeros(size, np.int64))


def _rounded(images: int, concepts: float, drawn: float) -> int:
    return int(level_counts(np.array([images]), round(images * concepts / (concepts + drawn)))[0])


def _spread(values: np.ndarray, rows: np.ndarray, size: int, empty: float) -> np.ndarray:
    out = np.full(size, empty, values.dtype)
    out[rows] = values
    return out
