"""Which frozen spaces are alike, before anything is trained: every candidate pair, ranked."""

import logging
from pathlib import Path
from typing import Any

from pipeline.config import CompareSpec
from pipeline.files import write_csv, write_json
from pipeline.progress import tqdm
from pipeline.similarity.auto import CHOICE_FILE, order_of
from pipeline.similarity.candidates import Candidates, read_candidates
from pipeline.similarity.choice import choose, sentence
from pipeline.similarity.measure import RepeatMeasures, measure_repeat
from pipeline.similarity.neighbours import chance
from pipeline.similarity.permutation import LEAST
from pipeline.similarity.plots import heatmap
from pipeline.similarity.ranking import rank_pairs
from pipeline.similarity.samples import MAX_SAMPLES
from pipeline.similarity.wording import sentences, table

log = logging.getLogger(__name__)

SCHEMA = 2
PROTOCOL = (
    "English image-caption pairs outside the test split of each repeat, one row per image; an image with several "
    "captions has their mean embedding, an image that shares a caption with an earlier one (by id) is passed over, and "
    f"at most {MAX_SAMPLES} images are used. Concept families are put into classes of at least {LEAST}, of one size "
    "each; larger families are thinned to the size of their class. Values are means over repeats. `cka` is linear CKA "
    "with unbiased HSIC on features as they are stored, `cka_biased` the biased estimate that the paper's script "
    "computes; mutual-kNN uses cosine, tied neighbours count with their probability. Nulls exchange whole families "
    "within their class, with the same permutations for all candidates of a repeat: the threshold is the 95th "
    "percentile of null and value together, averaged over repeats, the p-value is the largest of the repeats, and the "
    "calibrated score is how far a value stands above the threshold on the way to 1. `best` searches layers and "
    "poolings; its null is that of the maximum. Intervals of mutual-kNN resample concept families with the neighbour "
    "graphs as they are; CKA is no mean over samples and has its standard deviation over repeats only, which share "
    "most of their samples. The control's figure beside a value is the highest of all its layers and poolings with the "
    "same texts. `choice` ranks pairs of views, without the control, by their last kept layers on the samples that are "
    "in the test split of no repeat; `probe` is the mean reciprocal rank of CCA on held-out families there, in folds, "
    "the mean of both directions and of two deals of families into folds. Intervals of the choice leave out groups of "
    "families in turn and measure again (jackknife)."
)
_COLUMNS = ("pair", "cka", "mutual_knn", "cka_biased", "cka_null_q95", "cka_p", "mutual_knn_null_q95", "mutual_knn_p")


def compare_views(params: CompareSpec, *, repeats: int, seed: int, out: Path) -> str:
    """Compare every image space with every text space.

    Writes similarity.json, .summary.json and .csv, choice.json and heatmap.png.

    Args:
        repeats: number of splits; repeat i permutes with seed `seed * repeats + i`.
        out: folder to write into.

    Returns:
        A table for the terminal.

    Raises:
        DataError: tables and stores do not belong together, or there are too few samples for the neighbours asked for.
        StoreError, FingerprintMismatch: a store is missing, damaged or of another encoder than the others of its view.
    """
    candidates = read_candidates(params, repeats)
    measures = _measure(candidates, params, repeats, seed)
    pairs, best = rank_pairs(candidates, measures, params.control, seed) if measures else ([], [])
    choice, reason = choose(candidates, params, seed) if measures else (None, None)
    left_out = [*candidates.samples.left_out, *_over_the_limit(candidates, repeats), *([reason] if reason else [])]
    for line in left_out:
        log.warning("compare leaves out: %s", line)
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "protocol": PROTOCOL,
        "datasets": list(params.datasets),
        "samples": [len(m.rows) for m in measures],
        "neighbours": params.neighbours,
        "permutations": params.permutations,
        "control": params.control,
        "chance": {
            "cka": 0.0,
            "mutual_knn": round(sum(chance(len(m.rows), params.neighbours) for m in measures) / len(measures), 6)
            if measures
            else None,
        },
        "pairs": pairs,
        "best": best,
        "choice": choice,
        "sentences": [*([sentence(choice)] if choice else []), *sentences(best, params.control, len(measures))],
        "left_out": left_out,
    }
    write_json(result, out / "similarity.json")
    write_json(order_of(choice, candidates.digests), out / CHOICE_FILE)
    write_json(_summary(best), out / "similarity.summary.json")
    write_csv(({"pair": pair_name(record), **record} for record in pairs), _COLUMNS, out / "similarity.csv")
    heatmap(pairs, params.texts, params.control, out / "heatmap.png")
    return table(result)


def pair_name(record: dict[str, Any]) -> str:
    """The name of a pair in plots, e.g. `vit[11].cls x minilm`."""
    return f"{record['image']}[{record['layer']}].{record['pooling']} x {record['text']}"


def _measure(candidates: Candidates, params: CompareSpec, repeats: int, seed: int) -> list[RepeatMeasures]:
    if not candidates.images:
        return []
    return [
        measure_repeat(candidates, repeat, params, seed * repeats + repeat)
        for repeat in tqdm(range(repeats), desc="compare", unit="repeat")
    ]


def _over_the_limit(candidates: Candidates, repeats: int) -> list[str]:
    if len(candidates.samples) <= MAX_SAMPLES:
        return []
    most = max(int((candidates.samples.splits[:, repeat] != "test").sum()) for repeat in range(repeats))
    return (
        [f"of up to {most} images outside the test split, the first {MAX_SAMPLES} by id"] if most > MAX_SAMPLES else []
    )


def _summary(best: list[dict[str, Any]]) -> dict[str, Any]:
    """For `dvc metrics`: image view, text view, figures of the best layer and pooling."""
    summary: dict[str, Any] = {}
    for entry in best:
        figures = {name: entry[name] for name in ("cka", "mutual_knn", "layer", "pooling")}
        summary.setdefault(entry["image"], {})[entry["text"]] = figures
    return summary
