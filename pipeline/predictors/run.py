"""The study: points, unimodal scores, what each predictor explains, as JSON, CSV and a scatter plot."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.accounting.parameters import parameter_count
from pipeline.config import PredictorsSettings
from pipeline.errors import DataError
from pipeline.files import write_csv, write_json
from pipeline.paths import checkpoint_folder
from pipeline.predictors.explain import SCOPES, explained
from pipeline.predictors.plots import scatter
from pipeline.predictors.points import SIMILARITIES, image_scores, pair_points, splits_of
from pipeline.predictors.text_scores import GROUPS, group_means, read_text_tasks, text_scores
from pipeline.predictors.wording import sentences
from pipeline.similarity.candidates import Candidates, read_candidates

log = logging.getLogger(__name__)

SCHEMA = 1
OUTCOME = "aligned_recall@10"
PROTOCOL = (
    "Outcome: recall@10 after alignment, mean of both directions and of the data sets, on the test families of each "
    "repeat, mean over repeats; images against the distinct captions of the split. Alignment is the default's closed "
    "form (CCA and kernel ridge, cosines added) fitted to the train split on one vector per image (CLS token or "
    "pooled output of a layer, as it is) and the mean of its captions. Before alignment: unbiased and biased linear "
    "CKA, unbiased RBF CKA, CKNNA and mutual-kNN on English pairs outside the test split, one per caption; the probe "
    "is recall@10 of CCA alone on validation families; unimodal scores of texts are Spearman of cosine and likeness "
    "(similarity) and nDCG@10 (search) on the text tasks, those of images mean accuracy per class of k-NN and of a "
    "linear probe on categories, fitted to the train split and asked for the validation split. `unimodal` adds the "
    "standardised means of either side. Parameters are counted without statistics of batch norms and enter as "
    "logarithms; they and the widths are what `partial` takes out. Encoders are represented by their last kept "
    "layer, except in the scope `layers`, which correlates over the layers of one image encoder. No figure of the "
    "test split is used by any predictor. Intervals resample encoders, which are few: they say how far the answer "
    "hangs on which encoders were at hand."
)
_TEXT = (*GROUPS, "text_parameters", "text_width")
_IMAGE = ("image_knn", "image_linear", "image_parameters", "image_width")
_SIZES = ("image_parameters", "image_width", "text_parameters", "text_width")
PREDICTORS = (*SIMILARITIES, "probe_recall@10", "unimodal", *_TEXT, *_IMAGE)
Points = Sequence[Mapping[str, Any]]


def run_study(settings: PredictorsSettings, out: Path) -> str:
    """Write predictors.json, .summary.json, .csv and scatter.png into `out`; returns a table for the terminal.

    Raises:
        DataError: tables and stores do not belong together, or there are too few pictures.
        StoreError, FingerprintMismatch: a store is missing, damaged or of another encoder than the others of its view.
        CheckpointError: the weights of an encoder are missing.
    """
    params, compare = settings.predictors, settings.compare
    candidates = read_candidates(compare, settings.repeats, poolings=("cls",))
    left_out = list(candidates.samples.left_out)
    points = _points(candidates, settings) if candidates.images else []
    for line in left_out:
        log.warning("predictors leaves out: %s", line)
    controls = {compare.control, params.text_control}
    records = correlations(points, controls, settings.seed)
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "protocol": PROTOCOL,
        "params": params.model_dump(mode="json"),
        "control": compare.control,
        "text_control": params.text_control,
        "outcome": OUTCOME,
        "points": points,
        "correlations": records,
        "sentences": sentences(records),
        "left_out": left_out,
    }
    write_json(result, out / "predictors.json")
    write_json(_summary(records), out / "predictors.summary.json")
    write_csv(points, ["name", "cka", "mutual_knn", "probe_recall@10", OUTCOME], out / "predictors.csv")
    scatter(last_layers(points), controls, OUTCOME, out / "scatter.png")
    return "\n".join([*result["sentences"], *(f"left out: {line}" for line in left_out)])


def _points(candidates: Candidates, settings: PredictorsSettings) -> list[dict[str, Any]]:
    params, compare = settings.predictors, settings.compare
    splits = splits_of(candidates.samples, settings.repeats)
    if not splits or min(len(split.compared) for split in splits) <= compare.neighbours:
        raise DataError(
            f"Predictors of alignment need train, validation and test pictures in a repeat, and more than "
            f"{compare.neighbours} outside the test split (compare.neighbours); too few of "
            f"{', '.join(compare.datasets)} have captions. Lower it in params.yaml, or add data."
        )
    points = pair_points(candidates, splits, params, compare)
    images = image_scores(candidates.images, candidates.samples, splits, settings.repeats, compare.neighbours)
    by_space = {(one["image"], one["layer"]): one for one in images}
    texts = _text_scores(candidates, params.text_tasks)
    sizes = {view: parameter_count(checkpoint_folder(encoder)) for view, encoder in settings.encoders.items()}
    widths = {space.view: space.features.shape[1] for space in candidates.images}
    widths |= {space.view: space.features.shape[1] for space in candidates.texts}
    for point in points:
        image, text = point["image"], point["text"]
        point |= by_space[image, point["layer"]] | texts[text]
        point |= {"image_parameters": sizes[image], "text_parameters": sizes[text]}
        point |= {"image_width": widths[image], "text_width": widths[text]}
    return points


def _text_scores(candidates: Candidates, dataset: str | None) -> dict[str, dict[str, Any]]:
    """By text view the score of each task and the means of the groups."""
    if dataset is None:
        return {space.view: dict.fromkeys(GROUPS) for space in candidates.texts}
    tasks = read_text_tasks(dataset)
    by_view = {space.view: text_scores(space.view, dataset, tasks) for space in candidates.texts}
    return {view: {**scores, **group_means(scores, tasks)} for view, scores in by_view.items()}


def last_layers(points: Points) -> list[Mapping[str, Any]]:
    """The point of the last kept layer of each image view with each text view, in their order."""
    last: dict[tuple[str, str], Mapping[str, Any]] = {}
    for point in points:  # layers come in the order in which they are kept
        last[point["image"], point["text"]] = point
    return list(last.values())


def correlations(points: Points, controls: set[str | None], seed: int) -> list[dict[str, Any]]:
    """Records of `explained` for all encoders and for those that are no control, in each scope, and over layers."""
    records = []
    for which, chosen in (
        ("all", list(points)),
        ("without control", [p for p in points if not {p["image"], p["text"]} & controls]),
    ):
        if not chosen:
            continue
        ends = last_layers(chosen)
        outcome, predictors, sizes = _grid(ends, OUTCOME), _predictors(ends), [_grid(ends, s) for s in _SIZES]
        for scope in SCOPES:
            fitting = _of_scope(predictors, scope)
            controlled = [grid for name, grid in zip(_SIZES, sizes, strict=True) if _in_scope(name, scope)]
            records += [{"points": which, **r} for r in explained(fitting, outcome, controlled, scope, seed)]
        records += [{"points": which, **record} for record in _over_layers(chosen, seed)]
    return records


def _over_layers(points: Points, seed: int) -> list[dict[str, Any]]:
    """For each image view with several layers: rows are layers, columns text views, correlated within each text."""
    records = []
    for view in dict.fromkeys(point["image"] for point in points):
        own = [point for point in points if point["image"] == view]
        outcome = _grid(own, OUTCOME)
        if len(outcome) > 2:
            layered = {
                n: g for n, g in _predictors(own).items() if n in (*SIMILARITIES, "probe_recall@10", *_IMAGE[:2])
            }
            for record in explained(layered, outcome, [], "images", seed):
                kept = {key: value for key, value in record.items() if key not in ("partial", "images")}
                records.append({**kept, "scope": "layers", "image": view, "layers": len(outcome)})
    return records


def _grid(points: Points, name: str) -> np.ndarray:
    """(I, T) of the figure, image spaces by text views; NaN where it is not known. Parameters as logarithms."""
    texts = list(dict.fromkeys(point["text"] for point in points))
    values = [np.nan if point.get(name) is None else float(point[name]) for point in points]
    grid = np.array(values).reshape(-1, len(texts))
    return np.asarray(np.log10(grid) if name.endswith("_parameters") else grid)


def _predictors(points: Points) -> dict[str, np.ndarray]:
    grids = {name: _grid(points, name) for name in PREDICTORS if name != "unimodal"}
    sides = [
        np.mean([_standard(grids[name]) for name in names], axis=0)
        for names in (("image_knn", "image_linear"), ("text_similarity", "text_search"))
    ]
    return {name: grids[name] if name != "unimodal" else sides[0] + sides[1] for name in PREDICTORS}


def _standard(grid: np.ndarray) -> np.ndarray:
    deviation = grid.std()
    return np.asarray((grid - grid.mean()) / (deviation if deviation > 0 else 1.0))


def _in_scope(name: str, scope: str) -> bool:
    """A figure of one side is the same within a group of the other scope, and explains nothing there."""
    return not (name in _IMAGE and scope == "texts") and not (name in _TEXT and scope == "images")


def _of_scope(predictors: Mapping[str, np.ndarray], scope: str) -> dict[str, np.ndarray]:
    return {name: grid for name, grid in predictors.items() if _in_scope(name, scope)}


def _summary(records: Points) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for record in records:
        if record["scope"] in SCOPES and record["points"] == "without control":
            summary.setdefault(record["scope"], {})[record["predictor"]] = record["spearman"]
    return summary
