"""From pydantic's errors to sentences: which key, what was found, what would do, and where a misplaced key belongs."""

from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pipeline.config.params import Params
from pipeline.config.suggestion import suggestion

_DISCRIMINATORS = ("source", "kind", "modality", "method")


def explain(error: ValidationError, raw: dict[str, Any]) -> Iterator[str]:
    """A sentence for each problem.

    Args:
        raw: the data that did not validate.
    """
    for problem in error.errors(include_url=False):
        location = as_written([str(part) for part in problem["loc"]], raw)
        key = ".".join(location)
        if problem["type"] == "extra_forbidden":
            yield _unknown_key(location, raw)
        elif problem["type"] == "missing":
            yield f"`{key}` is missing; give it a value."
        elif problem["type"] == "union_tag_not_found":
            yield f"`{key}` needs {problem['ctx']['discriminator']}, one of {_kinds(_annotation_at(location, raw))}."
        elif problem["type"] == "union_tag_invalid":
            context = problem["ctx"]
            name = context["discriminator"].strip("'")
            yield f"`{key}.{name}` is {context['tag']!r}; it is one of {context['expected_tags']}."
        elif problem["type"] == "value_error":
            where = key.removesuffix(".[key]")
            yield f"`{where}`: {problem['ctx']['error']}." if where else f"{problem['ctx']['error']}."
        else:
            reason = problem["msg"][0].lower() + problem["msg"][1:]
            yield f"`{key}` is {problem['input']!r:.200}: {reason}."


def as_written(location: list[str], raw: Any) -> list[str]:
    """The location without the tag that pydantic adds after an entry of a union, e.g. `datasets.x.emoji.styles`."""
    value, written = raw, []
    for part in location:
        tags = [value.get(name) for name in _DISCRIMINATORS] if isinstance(value, dict) else []
        if isinstance(value, dict) and part not in value and part in tags:
            continue
        written.append(part)
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
    return written


def _unknown_key(location: list[str], raw: dict[str, Any]) -> str:
    *parents, word = location
    key, where = ".".join(location), ".".join(parents)
    annotation = _annotation_at(parents, raw)
    entry = _value_at(parents, raw)
    members = _members(annotation)
    for name in _DISCRIMINATORS:
        kinds = {kind: model for model in members if name in model.model_fields for kind in _literals(model, name)}
        takers = [kind for kind, model in kinds.items() if word in model.model_fields]
        if len(kinds) > 1 and takers:
            return (
                f"`{key}` has no effect with {name}: {entry.get(name)} of `{where}`; it belongs to {name}: "
                f"{', '.join(takers)}."
            )
    model = _chosen(annotation, entry)
    known = [] if model is None else list(model.model_fields)
    return f"`{key}` is not a key that exists here.{suggestion(word, known)}"


def _value_at(location: list[str], raw: Any) -> Any:
    for part in location:
        raw = raw.get(part) if isinstance(raw, dict) else raw[int(part)] if isinstance(raw, list) else None
    return raw if isinstance(raw, dict) else {}


def _annotation_at(location: list[str], raw: Any) -> Any:
    """The type that stands at a location, with unions as they are."""
    annotation: Any = Params
    value: Any = raw
    for part in location:
        model = _chosen(annotation, value if isinstance(value, dict) else {})
        if model is not None and part in model.model_fields:
            annotation = _field(model.model_fields[part])
        elif get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        elif get_origin(annotation) is tuple:
            annotation = get_args(annotation)[0]
        else:
            return None
        value = value.get(part) if isinstance(value, dict) else value[int(part)] if isinstance(value, list) else None
    return annotation


def _field(field: FieldInfo) -> Any:
    """The annotation of a field, without an optional None."""
    annotation = field.annotation
    kept = [arm for arm in get_args(annotation) if arm is not type(None)]
    return kept[0] if len(kept) == 1 and type(None) in get_args(annotation) else annotation


def _members(annotation: Any) -> list[type[BaseModel]]:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    arms = get_args(annotation) if get_origin(annotation) is Union or "UnionType" in type(annotation).__name__ else ()
    return [arm for arm in arms or (annotation,) if isinstance(arm, type) and issubclass(arm, BaseModel)]


def _chosen(annotation: Any, entry: dict[str, Any]) -> type[BaseModel] | None:
    """The model that an entry of a union is of."""
    members = _members(annotation)
    for name in _DISCRIMINATORS:
        for model in members:
            if name in model.model_fields and entry.get(name) in _literals(model, name):
                return model
    return members[0] if len(members) == 1 else None


def _literals(model: type[BaseModel], name: str) -> tuple[str, ...]:
    return tuple(map(str, get_args(model.model_fields[name].annotation)))


def _kinds(annotation: Any) -> str:
    members = _members(annotation)
    return ", ".join(kind for m in members for n in _DISCRIMINATORS if n in m.model_fields for kind in _literals(m, n))
