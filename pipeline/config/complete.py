"""What params.yaml leaves to be understood is written out before it is validated: catalogue entries and kinds.

The kind of a loss, a curation or a closed form, and the supervision of a dense head, have a usual value; the kind of a
view is the modality of its encoder. The head of an aligner may be that of another one.
"""

import copy
from typing import Any, Final

from pipeline.config.aligners import AUTO, MASKS
from pipeline.config.catalogue import from_catalogue
from pipeline.config.closed_forms import FORM_KINDS
from pipeline.config.concept_curations import PRESETS
from pipeline.config.further import FURTHER
from pipeline.config.suggestion import suggestion
from pipeline.config.views import FUSED
from pipeline.errors import ConfigError

Raw = dict[str, Any]
SAME_AS: Final = "same_as"


def completed(raw: Raw) -> Raw:
    """The same data with every kind and catalogue entry written out; what is of no known form is left as it is.

    Raises:
        ConfigError: an encoder names a catalogue entry that does not exist, or a view has another modality than its
            encoder.
    """
    encoders = _each(raw.get("encoders"), _encoder)
    aligners = _each(raw.get("aligners"), lambda name, entry: _with_head("aligners", name, entry, raw, ["aligners"]))
    fused = _each(raw.get("fused"), lambda name, entry: _with_head("fused", name, entry, raw, ["aligners", "fused"]))
    added = _each(raw.get("added"), lambda name, entry: _with_head("added", name, entry, raw, ["aligners", "added"]))
    return raw | {
        key: value
        for key, value in {
            "encoders": encoders,
            "views": _each(raw.get("views"), lambda name, view: _view(name, view, encoders)),
            "curations": _each(raw.get("curations"), lambda _, curation: {"method": "all"} | curation),
            "concept_curations": _each(raw.get("concept_curations"), _concept_curation),
            "aligners": _each(aligners, _aligner),
            "fused": _each(fused, _aligner),
            "added": _each(added, _aligner),
            "auto": _each(raw.get("auto"), _aligner),
            "dense_heads": _each(raw.get("dense_heads"), lambda _, head: {"supervision": MASKS} | head),
        }.items()
        if key in raw
    }


def _each(entries: Any, change: Any) -> Any:
    """A catalogue with a change made to each of its entries."""
    if not isinstance(entries, dict):
        return entries
    return {name: change(name, entry) if isinstance(entry, dict) else entry for name, entry in entries.items()}


def _encoder(name: str, entry: Raw) -> Raw:
    if entry.get("source") == "imported":
        entry = {"loader": "imported", "pooling": "model"} | entry
    try:
        return from_catalogue(entry)
    except ValueError as error:
        raise ConfigError(f"params.yaml:\n  `encoders.{name}.catalogue`: {error}.") from None


def _view(name: str, view: Raw, encoders: Any) -> Raw:
    if "concat" in view:
        return {"modality": FUSED} | view
    encoder = encoders.get(str(view.get("encoder"))) if isinstance(encoders, dict) else None
    modality = encoder.get("modality") if isinstance(encoder, dict) else None
    if modality is None:  # the reference is reported as such; the keys say which kind of view was meant
        told = {"resolution": "image"} | {one.told: name for name, one in FURTHER.items()}
        return {"modality": next((told[key] for key in told if key in view), "text")} | view
    if view.get("modality", modality) != modality:
        raise ConfigError(
            f"params.yaml:\n  `views.{name}.modality` is {view['modality']!r}, but its encoder {view['encoder']!r} is "
            f"one of {modality}s; leave the key out."
        )
    return {"modality": modality} | view


def _with_head(section: str, name: str, aligner: Raw, raw: Raw, sections: list[str]) -> Raw:
    """With `head: {same_as: <aligner>}`, the head of that aligner, which stands in one of some sections."""
    aligners: Raw = {}
    for one in sections:
        aligners |= raw[one] if isinstance(raw.get(one), dict) else {}
    head, where = aligner.get("head"), f"{section}.{name}.head"
    if not isinstance(head, dict) or SAME_AS not in head:
        return aligner
    other = head[SAME_AS]
    if others := [key for key in head if key != SAME_AS]:
        problem = f"has `{SAME_AS}` beside `{others[0]}`: leave the other keys out, or write the head in full"
    elif not isinstance(other, str) or other not in aligners:
        hint = suggestion(str(other), [known for known in aligners if known != name])
        problem = f"names {other!r} in `{SAME_AS}`, which is not under `{'` or `'.join(sections)}`.{hint}".rstrip(".")
    else:
        entry = aligners[other].get("head") if isinstance(aligners[other], dict) else None
        if not isinstance(entry, dict) or SAME_AS not in entry:
            return aligner | ({"head": copy.deepcopy(entry)} if entry is not None else {})
        problem = f"is `{SAME_AS}: {other}`, whose head is that of another one: name that one"
    raise ConfigError(f"params.yaml:\n  `{where}` {problem}.")


def _concept_curation(_: str, curation: Raw) -> Raw:
    """With what its preset stands for where nothing else is written."""
    preset = PRESETS.get(str(curation.get("preset")))
    if preset is None:
        return curation
    written = curation.get("hygiene", {})
    hygiene = preset["hygiene"] | written if isinstance(written, dict) else written
    return preset | curation | {"hygiene": hygiene}


def _aligner(_: str, aligner: Raw) -> Raw:
    head = aligner.get("head")
    return aligner | {"head": _head(head)} if isinstance(head, dict) else aligner


def _head(head: Raw) -> Raw:
    changes: Raw = {}
    if isinstance(head.get("loss"), dict):
        changes["loss"] = {"kind": "info-nce"} | head["loss"]
    if isinstance(head.get("forms"), dict):
        changes["forms"] = _each(head["forms"], _form)
    if head.get("kind") == AUTO:
        kinds = {"computed": {"kind": "closed-form"}, "trained": {}}
        changes |= {key: _head(kind | head[key]) for key, kind in kinds.items() if isinstance(head.get(key), dict)}
    return head | changes


def _form(name: str, form: Raw) -> Raw:
    return {"kind": name} | form if name in FORM_KINDS else form
