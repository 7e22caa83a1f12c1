"""The model card of an aligner, filled from the run that fitted it: what it is made of, how well it does, what it cost.

A figure without a file behind it is left out, so the card of a folder that was copied elsewhere is short but true.
"""

import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from pipeline.alignment import HeadConfig
from pipeline.alignment.head_config import SPACE_FOLDER
from pipeline.config.modalities import DEFAULT, ORDER
from pipeline.errors import DataError
from pipeline.evaluation.results import Row, TaskResult
from pipeline.inference.card_audio import further_introduction, further_usage
from pipeline.inference.licences import about, data_table, encoder_rows
from pipeline.inference.markdown import cell, read_json, table
from pipeline.paths import MODELS

_PACKAGES = ("torch", "transformers", "sentence-transformers", "timm", "numpy")
_HEADLINES = ("recall@1", "recall@10", "accuracy", "miou", "mIoU")  # what the names of metrics in the card end with
_OF_SOUNDS = re.compile(r"(^|_)(a2[a-z]|[a-z]2a|effect|speech|sound)_")
_MOST_ROWS = 24
_COSTS = Path("accounting", "costs.json")
_TAGS = ("permafrost", "sentence-similarity", "feature-extraction", "frozen-encoders")


def card_text(
    config: HeadConfig,
    folder: Path,
    name: str,
    repeat: int,
    evaluations: Mapping[str, Mapping[str, float]],
    library: str = "permafrost",
) -> str:
    """The text of README.md, front matter included.

    Args:
        folder: the fitted aligner, inside the data folder of its project if it is still there.
        name: what a user loads, a hub name or a folder.
        repeat: the heads that a user gets.
        evaluations: what evaluators of sentence-transformers found, by evaluator.
        library: that loads what the card is of: "permafrost" or "sentence-transformers".
    """
    data = run_of(folder) or folder / ".none"  # where nothing is
    space = HeadConfig.read(folder / SPACE_FOLDER) if config.space else None
    rows = list(_headlines(data / "results", config.aligner))
    further = not {*config.modalities} <= {*DEFAULT}
    joined = "-".join(one for one in ORDER if one in {**config.modalities, **(space.modalities if space else {})})
    rows_of_encoders = [*encoder_rows(config, data), *(encoder_rows(space, data) if space else ())]
    data_of = ModelCardData(
        language=languages_of(config, folder) or ["en"],
        library_name=library,
        tags=[*_TAGS, joined],
        base_model=_hub_models(config) or None,
        model_name=config.aligner,
        eval_results=[_evaluated(row) for row in rows] or None,
    )
    parts = [
        f"---\n{data_of.to_yaml()}\n---",
        f"# {cell(config.aligner)}",
        _introduction(config, library) if not further else further_introduction(config, space),
        "## Use\n" + (_usage(config, name, repeat, space) if library == "permafrost" else _stock_usage(name)),
        "## Encoders\n" + table(["", "model", "source", "revision", "licence", "weights"], rows_of_encoders),
        "## Data\n" + data_table(config, data),
        "## Recipe\n" + _recipe(config),
        "## Scores\n" + (_scores(rows) if rows else "Not recorded in this folder."),
    ]
    if evaluations:
        entries = [[name, key, f"{value:.4g}"] for name, found in evaluations.items() for key, value in found.items()]
        parts.append(
            "### By evaluators of sentence-transformers\n\n" + table(["evaluator", "metric", "value"], entries)
        )
    parts += ["## Cost\n" + _cost(config, folder, data), "## Versions\n" + _versions(config)]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def run_of(folder: Path) -> Path | None:
    """The data folder of the run that fitted an aligner; None where its folder lies elsewhere."""
    models = folder.resolve().parent
    return models.parent if models.name == MODELS.name and (models.parent / "index").is_dir() else None


def languages_of(config: HeadConfig, folder: Path) -> list[str]:
    """The languages of the data that an aligner was fitted to; none where its folder lies outside the run."""
    data = run_of(folder)
    if data is None:
        return []
    found: set[str] = set()
    for name in config.data:
        found |= set(about(data, name).get("texts_per_language") or {})
    return sorted(found)


def total_parameters(config: HeadConfig, folder: Path) -> int | None:
    """Parameters of encoders and head, as the run counted them; None where it has not."""
    return _costs(config, run_of(folder)).get("total")


def _introduction(config: HeadConfig, library: str) -> str:
    if library != "permafrost":
        kept = "This folder holds all of it, as modules of sentence-transformers (6 or later); keep it in float32."
    else:
        kept = (
            "The encoders are not part of this folder; they are fetched from their own source and checked against the "
            "fingerprints in `config.json`."
        )
    return (
        f"Pictures and texts in one space of {config.embed_dim} dimensions: {len(config.encoders)} frozen encoders and "
        f"a head of kind `{cell(config.kind)}` between them, {config.parameters:,} fitted scalars. {kept}"
    )


def _usage(config: HeadConfig, name: str, repeat: int, space: HeadConfig | None = None) -> str:
    if not {*config.modalities} <= {*DEFAULT}:
        return further_usage(config, space, name, repeat)
    option = f", repeat={repeat}" if repeat else ""
    trust = [p["described"]["model"] for _, p in config.encoders if p["described"].get("source") == "hub"]
    option += f", trust={trust!r}" if trust else ""
    return (
        "```python\n"
        "from permafrost import Aligner\n\n"
        f"model = Aligner.from_pretrained({name!r}{option})\n"
        'vectors = model.encode(["a red kite", "kite.jpg"])  # texts and paths of pictures\n'
        "print(model.similarity(vectors[:1], vectors[1:]))\n"
        'print(model.classify("kite.jpg", ["kite", "dog"]))\n'
        "```"
    )


def _stock_usage(name: str) -> str:
    return (
        "```python\n"
        "from PIL import Image\n"
        "from sentence_transformers import SentenceTransformer\n\n"
        f"model = SentenceTransformer({name!r})\n"
        'texts = model.encode([{"text": "a red kite"}, {"text": "soup"}])\n'
        'pictures = model.encode([Image.open("kite.jpg").convert("RGB")])\n'
        "print(model.similarity(texts, pictures))\n"
        "```"
    )


def _hub_models(config: HeadConfig) -> list[str]:
    described = [fingerprint["described"] for _, fingerprint in config.encoders]
    return [str(entry["model"]) for entry in described if entry.get("source") == "hub"]


def _recipe(config: HeadConfig) -> str:
    views = ", ".join(f"{config.modality(side)} view `{cell(view)}`" for side, view in config.views.items())
    return f"{views}; {config.repeats} repeats of split and seed.\n\n```json\n{json.dumps(config.head, indent=1)}\n```"


def _headlines(results: Path, aligner: str) -> Iterator[Row]:
    rows = []
    for path in sorted(results.glob("*.json")):
        if path.name.count(".") > 1:
            continue  # examples and summaries
        try:
            rows += [row for row in TaskResult.read(path).rows if row.aligner == aligner]
        except DataError:
            continue  # of another version
    named = [row for row in rows if row.metric.endswith(_HEADLINES) and row.language in (None, "en")]
    yield from named[:_MOST_ROWS]


def _scores(rows: Sequence[Row]) -> str:
    entries = [
        [row.dataset, row.measure, f"{row.value:.3f}", _interval(row), f"{row.chance:.3f}", row.n_items, row.repeats]
        for row in rows
    ]
    note = "95 % intervals resample concept families; chance is what random scores would give.\n"
    return note + table(["data set", "metric", "value", "95 % interval", "chance", "items", "repeats"], entries)


def _interval(row: Row) -> str:
    return "" if row.ci is None else f"{row.ci[0]:.3f} to {row.ci[1]:.3f}"


def _evaluated(row: Row) -> EvalResult:
    classes = "accuracy" in row.metric
    pictures = "zero-shot-image-classification" if classes else "image-text-retrieval"
    sounds = "zero-shot-audio-classification" if classes else "audio-retrieval"
    return EvalResult(
        task_type=sounds if _OF_SOUNDS.search(row.metric) else pictures,
        dataset_type=row.dataset,
        dataset_name=row.dataset,
        metric_type=row.metric,
        metric_name=row.measure,
        metric_value=round(row.value, 4),
    )


def _costs(config: HeadConfig, data: Path | None) -> dict[str, Any]:
    """What the run counted of the aligner; empty where there is no run, or it has not come to that."""
    listed = [] if data is None else read_json(data / _COSTS).get("aligners") or []
    return next((entry for entry in listed if entry.get("aligner") == config.aligner), {})


def _cost(config: HeadConfig, folder: Path, data: Path) -> str:
    own, metrics = _costs(config, data), read_json(folder / "metrics.json")
    lines = [f"- fitted scalars of one head: {config.parameters:,}"]
    seconds = metrics.get("seconds")
    if isinstance(seconds, int | float):
        lines.append(f"- seconds of fitting, all {config.repeats} repeats: {seconds:,.1f}")
    if own.get("total"):
        lines.append(f"- parameters of encoders and head: {own['total']:,}")
        lines.append(f"- samples seen: {own.get('samples_seen', 0):,}")
    machine = read_json(data / _COSTS).get("machine")
    if machine:
        gpus = ", ".join(map(str, machine.get("gpus") or [])) or "no GPU"
        lines.append(f"- machine: {machine.get('cpus')} cores ({cell(machine.get('cpu'))}), {cell(gpus)}")
    return "\n".join(lines)


def _versions(config: HeadConfig) -> str:
    own = import_module(__name__.partition(".")[0]).__version__  # the package imports this room, so not at the top
    here = [f"permafrost {own}", f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            here.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    features = {
        f"{library} {described[library]}"
        for described in (fingerprint["described"] for _, fingerprint in config.encoders)
        for library in ("torch", "transformers", "timm", "sentence-transformers", "open_clip")
        if library in described
    }
    return f"Saved with {', '.join(here)}. Features were made with {cell(', '.join(sorted(features)) or 'unknown')}."
