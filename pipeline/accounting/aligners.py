"""What each aligner and each ensemble of some trained: its share of all parameters, samples seen, seconds."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.accounting.read import field, read_json
from pipeline.features.fused import member_fingerprints

_SIDES = ("image", "text")  # places; which modality stands there, the fingerprints say
_ENCODER, _MODALITY = "_encoder", "modality"


def aligner_costs(
    models: Path, names: Iterable[str], parameters: Mapping[str, int]
) -> tuple[list[dict[str, Any]], list[str]]:
    """One entry per aligner of `names`; and why others, made with other encoders, are left out.

    `trainable` counts the trained or fitted scalars of one head, `kept` those of training rows that a head in closed
    form keeps and of what was drawn for it; `total` adds both and both frozen encoders, a dual encoder once.
    `samples_seen` is summed over repeats and epochs. Encoders stand under their modality: `image_encoder`,
    `audio_encoder`, `text_encoder`.

    Args:
        parameters: of the encoders, by the digest over their files.

    Raises:
        DataError: a file is missing or damaged.
    """
    entries, left_out = [], []
    for name in sorted(names):
        path = models / name / "config.json"
        config = read_json(path)
        encoders = {side: _encoders(config, side, path, parameters) for side in _SIDES}
        unknown = [encoder for of_side in encoders.values() for encoder in of_side if isinstance(encoder, str)]
        if unknown:
            left_out.append(f"aligner {path.parent.name}: {unknown[0]}; train it again, or remove {path.parent}")
            continue
        entries.append(_costs(path.parent, config, encoders))
    return entries, left_out


def ensemble_costs(
    models: Path, ensembles: Mapping[str, Iterable[str]], parameters: Mapping[str, int]
) -> tuple[list[dict[str, Any]], list[str]]:
    """One entry per ensemble, in the form of `aligner_costs`; and why others are left out.

    `trainable` and `kept` are sums over its members, named under `of`; an encoder that several of them have counts
    once. Nothing is fitted of an ensemble, so it saw no samples and took no time.

    Args:
        ensembles: the members of each.
        parameters: as of `aligner_costs`.

    Raises:
        DataError: a file is missing or damaged.
    """
    entries, left_out = [], []
    for name, of in sorted(ensembles.items()):
        members, reasons = aligner_costs(models, of, parameters)
        if reasons:
            left_out.append(f"ensemble {name}, for want of {reasons[0]}")
            continue
        paths = {entry["aligner"]: models / entry["aligner"] / "config.json" for entry in members}
        encoders: dict[str, list[dict[str, Any]]] = {}
        for side in _SIDES:
            found = [one for path in paths.values() for one in _encoders(read_json(path), side, path, parameters)]
            encoders[side] = list({one["view"]: one for one in found}.values())
        entries.append(_ensemble(name, members, encoders))
    return entries, left_out


def _ensemble(name: str, members: list[dict[str, Any]], encoders: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    fitted = {key: sum(member[key] for member in members) for key in ("trainable", "kept")}
    frozen = {one["weights"]: one["parameters"] for of_side in encoders.values() for one in of_side}
    total = sum(fitted.values()) + sum(frozen.values())
    return {
        "aligner": name,
        "of": [member["aligner"] for member in members],
        **fitted,
        **{_key(of): _shown(" + ".join(one["view"] for one in of), of) for of in encoders.values()},
        "total": total,
        "trainable_share": fitted["trainable"] / total,
        "samples_seen": 0,
        "train_seconds": 0.0,
    }


def _encoders(config: dict[str, Any], side: str, path: Path, parameters: Mapping[str, int]) -> list[Any]:
    """View, model and parameters of the frozen encoders of one side; in place of one, why they cannot be known."""
    view = str(field(config, f"views.{side}", path))
    fingerprint = field(config, f"fingerprints.{side}", path)
    try:
        members = member_fingerprints(fingerprint, view)
    except (ValueError, KeyError, TypeError) as error:
        return [f"it records no whole fingerprint of view {view} ({error})"]
    return [_encoder(member, one, side, parameters) for member, one in members.items()]


def _encoder(view: str, fingerprint: Any, side: str, parameters: Mapping[str, int]) -> dict[str, Any] | str:
    if not isinstance(fingerprint, dict) or "compared" not in fingerprint:
        return f"it records no whole fingerprint of view {view}, so it is of an older version"
    weights = fingerprint["compared"].get("weights")
    if weights not in parameters:
        return f"the encoder of view {view} (files {str(weights)[:12]}) is not under data/checkpoints"
    model = fingerprint.get("described", {}).get("model")
    modality = fingerprint["compared"].get("modality", side)
    return {"view": view, "model": model, "parameters": parameters[weights], "weights": weights, _MODALITY: modality}


def _costs(folder: Path, config: dict[str, Any], encoders: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    config_path, metrics_path = folder / "config.json", folder / "metrics.json"
    metrics = read_json(metrics_path)
    trainable, kept = (int(field(config, name, config_path)) for name in ("parameters", "kept"))
    frozen = {encoder["weights"]: encoder["parameters"] for of_side in encoders.values() for encoder in of_side}
    total = trainable + kept + sum(frozen.values())
    repeats: dict[str, dict[str, Any]] = field(metrics, "repeats", metrics_path)
    return {
        "aligner": folder.name,
        "trainable": trainable,
        "kept": kept,
        **{_key(of): _shown(str(field(config, f"views.{side}", config_path)), of) for side, of in encoders.items()},
        "total": total,
        "trainable_share": trainable / total,
        "samples_seen": field(metrics, "samples_seen", metrics_path),
        "samples_seen_by_repeat": {name: entry.get("samples_seen") for name, entry in repeats.items()},
        "training_pairs_by_repeat": {name: entry.get("training_pairs") for name, entry in repeats.items()},
        "train_seconds": field(metrics, "seconds", metrics_path),
    }


def _shown(view: str, encoders: list[dict[str, Any]]) -> dict[str, Any]:
    """One encoder; or several as one, with each under `members`."""
    each = [{name: encoder[name] for name in ("view", "model", "parameters")} for encoder in encoders]
    if len(each) == 1:
        return each[0]
    models, total = " + ".join(str(one["model"]) for one in each), sum(one["parameters"] for one in each)
    return {"view": view, "model": models, "parameters": total, "members": each}


def _key(encoders: list[dict[str, Any]]) -> str:
    """Under which the encoders of a side are written: by the modality that stands there."""
    return f"{encoders[0][_MODALITY]}{_ENCODER}"


def stored_views(entry: Mapping[str, Any]) -> dict[str, list[str]]:
    """The views whose features an aligner takes of each modality, from its entry."""
    encoders = {key.removesuffix(_ENCODER): value for key, value in entry.items() if key.endswith(_ENCODER)}
    return {modality: [one["view"] for one in of.get("members", [of])] for modality, of in encoders.items()}
