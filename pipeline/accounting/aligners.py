"""What each aligner trained: its share of all parameters, samples seen, seconds."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.accounting.read import field, read_json


def aligner_costs(
    models: Path, names: Iterable[str], parameters: Mapping[str, int]
) -> tuple[list[dict[str, Any]], list[str]]:
    """One entry per aligner of `names`; and why others, made with other encoders, are left out.

    `trainable` counts the trained or fitted scalars of one head, `kept` those of training rows that a head in closed
    form keeps and of what was drawn for it; `total` adds both and both frozen encoders, a dual encoder once.
    `samples_seen` is summed over repeats and epochs.

    Args:
        parameters: of the encoders, by the digest over their files.

    Raises:
        DataError: a file is missing or damaged.
    """
    entries, left_out = [], []
    for name in sorted(names):
        path = models / name / "config.json"
        config = read_json(path)
        encoders = {side: _encoder(config, side, path, parameters) for side in ("image", "text")}
        unknown = [encoder for encoder in encoders.values() if isinstance(encoder, str)]
        if unknown:
            left_out.append(f"aligner {path.parent.name}: {unknown[0]}; train it again, or remove {path.parent}")
            continue
        entries.append(_costs(path.parent, config, encoders))
    return entries, left_out


def _encoder(config: dict[str, Any], side: str, path: Path, parameters: Mapping[str, int]) -> Any:
    """View, model and parameters of one frozen encoder; or, as a string, why they cannot be known."""
    view = str(field(config, f"views.{side}", path))
    fingerprint = field(config, f"fingerprints.{side}", path)
    if not isinstance(fingerprint, dict) or "compared" not in fingerprint:
        return f"it records no whole fingerprint of view {view}, so it is of an older version"
    weights = fingerprint["compared"].get("weights")
    if weights not in parameters:
        return f"the encoder of view {view} (files {str(weights)[:12]}) is not under data/checkpoints"
    model = fingerprint.get("described", {}).get("model")
    return {"view": view, "model": model, "parameters": parameters[weights], "weights": weights}


def _costs(folder: Path, config: dict[str, Any], encoders: dict[str, Any]) -> dict[str, Any]:
    config_path, metrics_path = folder / "config.json", folder / "metrics.json"
    metrics = read_json(metrics_path)
    trainable, kept = (int(field(config, name, config_path)) for name in ("parameters", "kept"))
    frozen = {encoder["weights"]: encoder["parameters"] for encoder in encoders.values()}
    shown = {
        side: {name: value for name, value in encoder.items() if name != "weights"}
        for side, encoder in encoders.items()
    }
    total = trainable + kept + sum(frozen.values())
    repeats: dict[str, dict[str, Any]] = field(metrics, "repeats", metrics_path)
    return {
        "aligner": folder.name,
        "trainable": trainable,
        "kept": kept,
        "image_encoder": shown["image"],
        "text_encoder": shown["text"],
        "total": total,
        "trainable_share": trainable / total,
        "samples_seen": field(metrics, "samples_seen", metrics_path),
        "samples_seen_by_repeat": {name: entry.get("samples_seen") for name, entry in repeats.items()},
        "training_pairs_by_repeat": {name: entry.get("training_pairs") for name, entry in repeats.items()},
        "train_seconds": field(metrics, "seconds", metrics_path),
    }
