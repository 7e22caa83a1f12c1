"""The model card of an aligner, filled from the run that fitted it: what it is made of, how well it does, what it cost.

A figure without a file behind it is left out, so the card of a folder that was copied elsewhere is short but true.
"""

import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData, metadata_load, try_to_load_from_cache

from pipeline.alignment import HeadConfig
from pipeline.errors import DataError
from pipeline.evaluation.results import Row, TaskResult
from pipeline.paths import MODELS
from pipeline.plain import read_regular

_MOST = 1 << 26  # bytes of a JSON file that is read
_PACKAGES = ("torch", "transformers", "sentence-transformers", "timm", "numpy")
_HEADLINES = ("recall@1", "recall@10", "accuracy", "miou", "mIoU")  # what the names of metrics in the card end with
_MOST_ROWS = 24
_TAGS = ["permafrost", "sentence-similarity", "feature-extraction", "image-text", "frozen-encoders"]


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
    rows = list(_headlines(data / "results", config.aligner))
    data_of = ModelCardData(
        language=_languages(config, data),
        library_name=library,
        tags=_TAGS,
        base_model=_hub_models(config) or None,
        model_name=config.aligner,
        eval_results=[_evaluated(row) for row in rows] or None,
    )
    parts = [
        f"---\n{data_of.to_yaml()}\n---",
        f"# {_cell(config.aligner)}",
        _introduction(config, library),
        "## Use\n" + (_usage(config, name, repeat) if library == "permafrost" else _stock_usage(name)),
        "## Encoders\n" + _table(["", "model", "source", "revision", "licence", "weights"], _encoders(config, data)),
        "## Data\n" + _data(config, data),
        "## Recipe\n" + _recipe(config),
        "## Scores\n" + (_scores(rows) if rows else "Not recorded in this folder."),
    ]
    if evaluations:
        entries = [[name, key, f"{value:.4g}"] for name, found in evaluations.items() for key, value in found.items()]
        parts.append(
            "### By evaluators of sentence-transformers\n\n" + _table(["evaluator", "metric", "value"], entries)
        )
    parts += ["## Cost\n" + _cost(config, folder, data), "## Versions\n" + _versions(config)]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def run_of(folder: Path) -> Path | None:
    """The data folder of the run that fitted an aligner; None where its folder lies elsewhere."""
    models = folder.resolve().parent
    return models.parent if models.name == MODELS.name and (models.parent / "index").is_dir() else None


def _about(data: Path, dataset: str) -> dict[str, Any]:
    """What the index of a data set says of it; nothing for a name that is a path."""
    return _json(data / "index" / "pairs" / dataset / "about.json") if Path(dataset).name == dataset else {}


def _introduction(config: HeadConfig, library: str) -> str:
    if library != "permafrost":
        kept = "This folder holds all of it, as modules of sentence-transformers (6 or later); keep it in float32."
    else:
        kept = (
            "The encoders are not part of this folder; they are fetched from their own source and checked against the "
            "fingerprints in `config.json`."
        )
    return (
        f"Pictures and texts in one space of {config.embed_dim} dimensions: two frozen encoders and a head of kind "
        f"`{_cell(config.kind)}` between them, {config.parameters:,} fitted scalars. {kept}"
    )


def _usage(config: HeadConfig, name: str, repeat: int) -> str:
    option = f", repeat={repeat}" if repeat else ""
    trust = [p["described"]["model"] for _, p in config.encoders if p["described"].get("source") == "hub"]
    option += f", trust={trust!r}" if trust else ""
    return (
        "```python\n"
        "from pipeline import Aligner\n\n"
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


def _encoders(config: HeadConfig, data: Path) -> Iterator[list[str]]:
    for side, fingerprint in config.encoders:
        described, compared = fingerprint["described"], fingerprint["compared"]
        yield [
            side,
            str(described.get("model")),
            f"{described.get('source')}, {compared.get('loader')}",
            str(described.get("revision"))[:12],
            _licence(described, str(compared.get("weights")), data),
            str(compared.get("weights"))[:12],
        ]


def _licence(described: Mapping[str, Any], weights: str, data: Path) -> str:
    """What the model card of an encoder says, where one is on this machine."""
    cards = [path.parent / "README.md" for path in data.glob("checkpoints/*/permafrost.json") if weights in _text(path)]
    if described.get("source") == "hub":
        try:
            cached = try_to_load_from_cache(str(described["model"]), "README.md", revision=described.get("revision"))
        except ValueError:  # no name of a repository
            cached = None
        cards += [Path(cached)] if isinstance(cached, str) else []
    for card in cards:
        if card.is_file():
            try:
                found = (metadata_load(card) or {}).get("license")
            except ValueError:
                found = None
            if found:
                return str(found)
    return "not recorded; see its source"


def _hub_models(config: HeadConfig) -> list[str]:
    described = [fingerprint["described"] for _, fingerprint in config.encoders]
    return [str(entry["model"]) for entry in described if entry.get("source") == "hub"]


def _data(config: HeadConfig, data: Path) -> str:
    if not config.data:
        return "Fitted to nothing: the encoders share a space already."
    entries = []
    for name in config.data:
        about = _about(data, name)
        counts = about.get("counts") or {}
        credits = (about.get("packages") or {}).items()
        licences = "; ".join(f"{package}: {entry.get('licence') or 'not recorded'}" for package, entry in credits)
        entries.append([name, counts.get("images", ""), counts.get("pairs", ""), licences or "not recorded"])
    held = "Concept families are held out jointly; the pairs of the training split alone are fitted to.\n"
    return held + _table(["data set", "pictures", "pairs", "licences"], entries)


def _languages(config: HeadConfig, data: Path) -> list[str]:
    found: set[str] = set()
    for name in config.data:
        found |= set(_about(data, name).get("texts_per_language") or {})
    return sorted(found) or ["en"]


def _recipe(config: HeadConfig) -> str:
    views = ", ".join(f"{side} view `{_cell(view)}`" for side, view in config.views.items())
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
    return note + _table(["data set", "metric", "value", "95 % interval", "chance", "items", "repeats"], entries)


def _interval(row: Row) -> str:
    return "" if row.ci is None else f"{row.ci[0]:.3f} to {row.ci[1]:.3f}"


def _evaluated(row: Row) -> EvalResult:
    classes = "accuracy" in row.metric
    return EvalResult(
        task_type="zero-shot-image-classification" if classes else "image-text-retrieval",
        dataset_type=row.dataset,
        dataset_name=row.dataset,
        metric_type=row.metric,
        metric_name=row.measure,
        metric_value=round(row.value, 4),
    )


def _cost(config: HeadConfig, folder: Path, data: Path) -> str:
    costs, metrics = _json(data / "accounting" / "costs.json"), _json(folder / "metrics.json")
    lines = [f"- fitted scalars of one head: {config.parameters:,}"]
    seconds = metrics.get("seconds")
    if isinstance(seconds, int | float):
        lines.append(f"- seconds of fitting, all {config.repeats} repeats: {seconds:,.1f}")
    for entry in costs.get("aligners") or []:
        if entry.get("aligner") == config.aligner and entry.get("total"):
            lines.append(f"- parameters of encoders and head: {entry['total']:,}")
            lines.append(f"- samples seen: {entry.get('samples_seen', 0):,}")
    machine = costs.get("machine")
    if machine:
        gpus = ", ".join(map(str, machine.get("gpus") or [])) or "no GPU"
        lines.append(f"- machine: {machine.get('cpus')} cores ({_cell(machine.get('cpu'))}), {_cell(gpus)}")
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
    return f"Saved with {', '.join(here)}. Features were made with {_cell(', '.join(sorted(features)) or 'unknown')}."


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join(["", "| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines])


def _cell(value: Any) -> str:
    """One line, with nothing that Markdown or HTML would read: names may come from anybody."""
    text = " ".join(str(value).split())
    return "".join(f"\\{letter}" if letter in "|<>`[]" else letter for letter in text)


def _text(path: Path) -> str:
    try:
        return read_regular(path, _MOST).decode("utf-8", "replace")
    except OSError:
        return ""


def _json(path: Path) -> dict[str, Any]:
    """The object in a file that may be missing or of another version; empty then."""
    try:
        content = json.loads(_text(path) or "{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
