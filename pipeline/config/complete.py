"""What params.yaml leaves to be understood is written out before it is validated: catalogue entries and kinds.

The kind of a loss, a curation or a closed form has a usual value, and that of a view is the modality of its encoder.
"""

from typing import Any

from pipeline.config.catalogue import from_catalogue
from pipeline.config.closed_forms import FORM_KINDS
from pipeline.errors import ConfigError

Raw = dict[str, Any]


def completed(raw: Raw) -> Raw:
    """The same data with every kind and catalogue entry written out; what is of no known form is left as it is.

    Raises:
        ConfigError: an encoder names a catalogue entry that does not exist, or a view has another modality than its
            encoder.
    """
    encoders = _each(raw.get("encoders"), _encoder)
    return raw | {
        key: value
        for key, value in {
            "encoders": encoders,
            "views": _each(raw.get("views"), lambda name, view: _view(name, view, encoders)),
            "curations": _each(raw.get("curations"), lambda _, curation: {"method": "all"} | curation),
            "aligners": _each(raw.get("aligners"), _aligner),
            "auto": _each(raw.get("auto"), _aligner),
        }.items()
        if key in raw
    }


def _each(entries: Any, change: Any) -> Any:
    """A catalogue with a change made to each of its entries."""
    if not isinstance(entries, dict):
        return entries
    return {name: change(name, entry) if isinstance(entry, dict) else entry for name, entry in entries.items()}


def _encoder(name: str, entry: Raw) -> Raw:
    try:
        return from_catalogue(entry)
    except ValueError as error:
        raise ConfigError(f"params.yaml:\n  `encoders.{name}.catalogue`: {error}.") from None


def _view(name: str, view: Raw, encoders: Any) -> Raw:
    encoder = encoders.get(str(view.get("encoder"))) if isinstance(encoders, dict) else None
    modality = encoder.get("modality") if isinstance(encoder, dict) else None
    if modality is None:  # the reference is reported as such; the keys say which kind of view was meant
        return {"modality": "image" if "resolution" in view else "text"} | view
    if view.get("modality", modality) != modality:
        raise ConfigError(
            f"params.yaml:\n  `views.{name}.modality` is {view['modality']!r}, but its encoder {view['encoder']!r} is "
            f"one of {modality}s; leave the key out."
        )
    return {"modality": modality} | view


def _aligner(_: str, aligner: Raw) -> Raw:
    head = aligner.get("head")
    if not isinstance(head, dict):
        return aligner
    changes: Raw = {}
    if isinstance(head.get("loss"), dict):
        changes["loss"] = {"kind": "info-nce"} | head["loss"]
    if isinstance(head.get("forms"), dict):
        changes["forms"] = _each(head["forms"], _form)
    return aligner | {"head": head | changes}


def _form(name: str, form: Raw) -> Raw:
    return {"kind": name} | form if name in FORM_KINDS else form
