"""Encoders and data of an aligner with their licences, for its model card; what is not known is said to be so."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import metadata_load, try_to_load_from_cache
from yaml import YAMLError

from pipeline.alignment import HeadConfig
from pipeline.config.modalities import many
from pipeline.inference.markdown import read_json, read_text, table

_UNKNOWN = "not recorded"


def encoder_rows(config: HeadConfig, data: Path) -> Iterator[list[str]]:
    """Modality, model, source, revision, licence and digest of the files of each encoder.

    Args:
        data: the data folder of the run, whose checkpoints may hold model cards.
    """
    for side, fingerprint in config.encoders:
        described, compared = fingerprint["described"], fingerprint["compared"]
        yield [
            config.modality(side),
            str(described.get("model")),
            f"{described.get('source')}, {compared.get('loader')}",
            str(described.get("revision"))[:12],
            encoder_licence(described, str(compared.get("weights")), data),
            str(compared.get("weights"))[:12],
        ]


def encoder_licence(described: Mapping[str, Any], weights: str, data: Path) -> str:
    """The licence of one revision of an encoder.

    That of an embedded one is known by the digest of its payload; that of others is what a model card says: beside the
    checkpoint, or in the cache of the hub at the very commit.

    Args:
        described: what its fingerprint records beside the compared fields.
        weights: the digest of its files.
    """
    if described.get("source") == "embedded":
        from pipeline.encoders.embedded.credits import CREDITS

        known = CREDITS.get((str(described.get("model")), str(described.get("revision"))))
        return str(known) if known else f"{_UNKNOWN}; this version does not know that payload"
    cards = [
        path.parent / "README.md" for path in data.glob("checkpoints/*/permafrost.json") if weights in read_text(path)
    ]
    if described.get("source") == "hub":
        try:
            cached = try_to_load_from_cache(str(described["model"]), "README.md", revision=described.get("revision"))
        except ValueError:  # no name of a repository
            cached = None
        cards += [Path(cached)] if isinstance(cached, str) else []
    return next(filter(None, map(_stated, cards)), f"{_UNKNOWN}; see its source")


def _stated(card: Path) -> str | None:
    """What a model card says; of `other` the name that it gives the licence."""
    if not card.is_file():
        return None
    try:
        front = metadata_load(card) or {}
    except (ValueError, YAMLError):
        return None
    licence = front.get("license")
    if licence == "other":
        return f"other: {front.get('license_name') or front.get('license_link') or 'see its card'}"
    return ", ".join(map(str, licence)) if isinstance(licence, list) else str(licence) if licence else None


def data_table(config: HeadConfig, data: Path) -> str:
    """Data sets that the heads were fitted to: samples of each modality, and the licence of each package of theirs."""
    if not config.data:
        return "Fitted to nothing: the encoders share a space already."
    shown = {many(one): "pictures" if one == "image" else many(one) for one in config.modalities if one != "text"}
    shown |= {"pairs": "pairs"} if "images" in shown and len(shown) == 1 else {}  # which are counted of pictures alone
    entries = []
    for name in config.data:
        of = about(data, name)
        counts = of.get("counts") or {}
        licences = "; ".join(
            f"{package} {entry.get('version') or ''}".rstrip() + f": {entry.get('licence') or _UNKNOWN}"
            for package, entry in (of.get("packages") or {}).items()
        )
        entries.append([name, *(counts.get(key, "") for key in shown), licences or _UNKNOWN])
    held = "Concept families are held out jointly; the pairs of the training split alone are fitted to.\n"
    return held + table(["data set", *shown.values(), "licences"], entries)


def about(data: Path, dataset: str) -> dict[str, Any]:
    """What the index of a data set says of it; nothing for a name that is a path."""
    return read_json(data / "index" / "pairs" / dataset / "about.json") if Path(dataset).name == dataset else {}
