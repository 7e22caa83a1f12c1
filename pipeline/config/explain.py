"""From pydantic's errors to sentences: which key, what was found, what would do, and where a misplaced key belongs."""

from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from pipeline.config.encoders import EncoderSpec
from pipeline.config.params import Params
from pipeline.config.suggestion import suggestion

_DISCRIMINATORS = ("source", "kind", "modality", "method", "supervision")


def explain(error: ValidationError, raw: dict[str, Any]) -> Iterator[str]:
    """A sentence for each problem.

    Args:
        raw: the data that did not validate.
    """
    found = [(as_written([str(part) for part in e["loc"]], raw), e) for e in error.errors(include_url=False)]
    wrong: dict[str, list[ErrorDetails]] = {}
    unread = {tuple(at[:-1]) for at, e in found if e["type"] == "extra_forbidden" and _means_catalogue(at)}
    for location, problem in found:
        key = ".".join(location)
        if problem["type"] == "missing" and tuple(location[:-1]) in unread:
            continue  # the catalogue would have given it
        if problem["type"] == "extra_forbidden":
            yield _unknown_key(location, raw)
        elif problem["type"] == "missing" and location and location[-1].isdigit():
            wrong.setdefault(".".join(location[:-1]), []).append(problem)
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
            yield f"`{where}`: {reason(problem)}." if where else f"{reason(problem)}."
        elif problem["type"] != "too_short" or not _has_cause(location, problem, found):
            wrong.setdefault(key, []).append(problem)
    for key, problems in wrong.items():
        yield _wrong_value(key, problems)


def reason(problem: ErrorDetails) -> str:
    """What is wrong with a value, or what it should be."""
    kind, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind in ("tuple_type", "list_type"):
        return f"it should be a list, as in [{value}]"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "it should have keys of its own, as in {key: value}"
    if kind == "missing":
        return "it should have one more value"
    if kind == "too_short":
        return f"it should have at least {context['min_length']} {'entry' if context['min_length'] == 1 else 'entries'}"
    if kind == "too_long":
        return f"it should have at most {context['max_length']} entries"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return message.replace("input should", "it should", 1)


def _wrong_value(key: str, problems: list[ErrorDetails]) -> str:
    value = problems[0]["input"]
    if value is None:
        return f"`{key}` has no entry: write some ({{}} where defaults will do), or leave the line out."
    reasons = list(dict.fromkeys(reason(problem) for problem in problems))
    further = (text.removeprefix("it should be ") for text in reasons[1:])
    return f"`{key}` is {value!r:.200}: {', or '.join((reasons[0], *further))}."


def _has_cause(location: list[str], problem: ErrorDetails, found: list[tuple[list[str], ErrorDetails]]) -> bool:
    """Whether a list counts as too short because values of it are wrong, which is said of the values."""
    return any(other is not problem and within[: len(location)] == location for within, other in found)


def as_written(location: list[str], raw: Any) -> list[str]:
    """The location without the tags that pydantic adds after an entry of a union, e.g. `datasets.x.emoji.styles`."""
    value, written = raw, []
    for part in location:
        tags = [value.get(name) for name in _DISCRIMINATORS] if isinstance(value, dict) else []
        if isinstance(value, dict) and part not in value and (part in tags or _is_type(part)):
            continue
        if isinstance(value, list) and not part.isdigit():
            continue
        if not isinstance(value, dict | list) and part != "[key]":
            break
        written.append(part)
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list):
            value = value[int(part)] if int(part) < len(value) else None
    return written


def _is_type(part: str) -> bool:
    """Whether pydantic names a member of a union of plain types."""
    return part in ("str", "int", "float", "bool", "constrained-int") or ("[" in part and part != "[key]")


def _means_catalogue(location: list[str]) -> bool:
    """Whether the key is a mistyped `catalogue` of an encoder."""
    *parents, word = location
    return parents[:1] == ["encoders"] and "`catalogue`" in suggestion(word, [*EncoderSpec.model_fields, "catalogue"])


def _unknown_key(location: list[str], raw: dict[str, Any]) -> str:
    *parents, word = location
    if parents == ["stores"] and isinstance(_value_at(parents, raw).get(word), dict):
        groups = "pairs (of data sets), scenes or prompts"
        return f"`stores.{word}` stands under no group; write `stores.pairs.{word}`. The groups are {groups}."
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
    known += ["catalogue"] if model is EncoderSpec else []
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
