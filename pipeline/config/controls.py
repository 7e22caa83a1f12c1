"""`evaluate.control`: which aligner is the control of which, and in what a control is unlike what it stands for.

A control is an aligner whose encoder of pictures, or of sounds, has random weights and that is the same in everything
else, so that what exceeds it is due to what that encoder has learned.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from pipeline.config.added import AddedAligner
from pipeline.config.aligners import AlignerSpec, split_method, with_method
from pipeline.config.ensembles import row_missing
from pipeline.config.lookup import Lookup
from pipeline.config.modalities import many

if TYPE_CHECKING:
    from pipeline.config.params import Params

_WEIGHTS: Final = frozenset({"source", "model", "revision"})  # keys of an encoder that say which weights it has
_EXAMPLES: Final = {"image": "random-vit-s14", "audio": "random-whisper-tiny"}
_RANDOM: Final = "random"  # with which the names of embedded models with random weights begin


def control_of(control: str | Mapping[str, str] | None, row: str) -> str | None:
    """The row that a row of a result has as its control; None where it has none, or is the control itself.

    Args:
        control: one aligner for all, or by aligner.
        row: an aligner, or one of its further methods, whose control is that method of the aligner's control.
    """
    aligner, method = split_method(row)
    name = control.get(aligner) if isinstance(control, Mapping) else control
    return None if name is None or name == aligner else with_method(name, method)


def controls_of(control: str | Mapping[str, str] | None, aligners: Iterable[str]) -> dict[str, str]:
    """The control of each aligner that has one."""
    found = {name: control_of(control, name) for name in aligners}
    return {name: of for name, of in found.items() if of is not None}


def control_problems(params: "Params", lookup: Lookup) -> Iterator[str]:
    """A line for each control that is named and is no control: of another head or text, or without random weights.

    One control for all (`evaluate.control` is a name) is not held to this: `control_caveats` says what differs.
    """
    control = params.evaluate.control
    if not isinstance(control, Mapping):
        if control is not None and (problem := lookup.missing("evaluate.control", control, "aligners")):
            yield problem
        return
    for name, other in control.items():
        where = f"evaluate.control.{name}"
        missing = [row_missing("evaluate.control", one, params, lookup) for one in (name, other)]
        if problems := [problem for problem in missing if problem is not None]:
            yield from problems
        elif name == other:
            yield f"`{where}` is {other!r} itself: leave the line out; a control needs none."
        elif other in control:
            yield f"`{where}` is {other!r}, which has a control of its own: leave `{other}` out of `evaluate.control`."
        elif name in params.ensembles or other in params.ensembles:
            yield from _unfair_ensemble(where, name, other, params)
        else:
            yield from _unfair(where, name, other, params)


def control_caveats(params: "Params") -> Iterator[str]:
    """A sentence for each aligner whose control differs from it in more than the weights of its image encoder."""
    for name, other in controls_of(params.evaluate.control, params.rows).items():
        if differing := list(dict.fromkeys(_unlike_members(_members(name, params), _members(other, params), params))):
            weights = params.modality(_first_view(name, params)) or "image"
            yield f"{name} and its control {other} differ in more than {weights} weights: {'; '.join(differing)}."


def _first_view(name: str, params: "Params") -> str:
    return params.named_aligners[_members(name, params)[0]].views[0]


def _members(name: str, params: "Params") -> tuple[str, ...]:
    """The aligners of an ensemble; an aligner alone."""
    return params.ensembles[name].of if name in params.ensembles else (name,)


def _unlike_members(ones: tuple[str, ...], twos: tuple[str, ...], params: "Params") -> Iterator[str]:
    if len(ones) != len(twos):
        yield f"number of aligners ({len(ones)}, {len(twos)})"
        return
    for name, other in zip(ones, twos, strict=True):
        one, two = params.named_aligners[name], params.named_aligners[other]
        blind = _blind(one, two, params)
        seen = str(params.modality(one.views[1 - blind]) or "text")
        yield from (*_fitted_unlike(one, two, blind=blind, seen=seen), *_seen_unlike(one, two, params, blind))


def _unfair_ensemble(where: str, name: str, other: str, params: "Params") -> Iterator[str]:
    """The control of an ensemble is one of the controls of its members, in their order."""
    one, two = (params.ensembles.get(row) for row in (name, other))
    if one is None or two is None or (len(one.of), one.scores) != (len(two.of), two.scores):
        yield (
            f"`{where}` is {other!r}: the control of an ensemble is an ensemble of as many aligners with the same "
            "`scores`, each the control of the member in its place; that of an aligner is an aligner."
        )
        return
    for member, control in zip(one.of, two.of, strict=True):
        if {member, control} <= params.named_aligners.keys():
            yield from _unfair(where, member, control, params)


def _unfair(where: str, name: str, other: str, params: "Params") -> Iterator[str]:
    one, two = params.named_aligners[name], params.named_aligners[other]
    blind = _blind(one, two, params)
    seen = str(params.modality(one.views[1 - blind]) or "text")
    if differing := [*_fitted_unlike(one, two, data=False, blind=blind, seen=seen)]:
        yield (
            f"`{where}` is {other!r}, which differs from {name!r} in {'; '.join(differing)}. A control has the same "
            f"head and the same {seen} view: set `aligners.{other}.head: {{same_as: {name}}}` and its {seen} view to "
            f"{one.views[1 - blind]!r}, or name another control."
        )
    modality = str(params.modality(one.views[blind]) or "image")
    first, seconds = (_encoders(aligner.views[blind], params) for aligner in (one, two))
    for second in seconds:
        encoder = params.encoders.get(second)
        if second in first:
            senses = {"image": "see images", "audio": "hear sounds"}.get(modality, f"take {many(modality)}")
            yield (
                f"`{where}` is {other!r}, but both {senses} through encoder {second!r}: a control has a view of an "
                "encoder with random weights."
            )
        elif encoder is not None and encoder.source == "embedded" and not encoder.model.startswith(_RANDOM):
            yield (
                f"`{where}` is {other!r}, whose {modality} encoder {second!r} is {encoder.model!r}, with trained "
                f"weights; a control has random ones, as `model: {_EXAMPLES.get(modality, _RANDOM + '-...')}`."
            )


def _blind(one: AlignerSpec, two: AlignerSpec, params: "Params") -> int:
    """The side through which a control has random weights: the first, or the second where pictures are the same."""
    return int(params.modality(one.views[1]) != "text" and one.views[0] == two.views[0])


def _encoders(view: str, params: "Params") -> list[str]:
    """Those behind a view; views that are not there are reported with the aligner."""
    views = [params.stored_views.get(member) for member in params.members(view)]
    return [view.encoder for view in views if view is not None]


def _fitted_unlike(
    one: AlignerSpec, two: AlignerSpec, data: bool = True, blind: int = 0, seen: str = "text"
) -> Iterator[str]:
    """In what heads, the view of the side that is not blind (called `seen`), spaces and training data differ."""
    yield from (f"head.{line}" for line in differences(one.head, two.head))
    if one.views[1 - blind] != two.views[1 - blind]:
        yield f"{seen} view ({one.views[1 - blind]}, {two.views[1 - blind]})"
    if one.kinds != two.kinds:
        yield f"kinds ({', '.join(one.kinds) or 'all'}; {', '.join(two.kinds) or 'all'})"
    spaces = [aligner.space if isinstance(aligner, AddedAligner) else "none" for aligner in (one, two)]
    if spaces[0] != spaces[1]:
        yield f"space ({', '.join(spaces)})"
    if data and one.data != two.data:
        yield f"data ({one.data}, {two.data})"


def _seen_unlike(one: AlignerSpec, two: AlignerSpec, params: "Params", side: int) -> Iterator[str]:
    """In what the views of the blind side differ, but for the weights behind them, and the views of evaluation."""
    modality = params.modality(one.views[side]) or "image"
    view_of = f"{modality} view"
    for key, first, second in (
        (view_of, one.views[side], two.views[side]),
        ("dense view", one.evaluation.dense, two.evaluation.dense),
    ):
        if first is None or second is None:
            if first is not None:
                yield f"evaluation.dense ({first}, none)"
            continue
        members = [params.members(name) for name in (first, second)]
        if len(members[0]) != len(members[1]):
            yield f"number of {modality} views ({len(members[0])}, {len(members[1])})"
            continue
        for pair in zip(*members, strict=True):
            shown, hidden = (params.stored_views[member] for member in pair)
            yield from (f"{key} {line}" for line in differences(shown, hidden, leave_out=frozenset({"encoder"})))
            if key == view_of:
                seen, blind = (params.encoders[view.encoder] for view in (shown, hidden))
                yield from (f"{modality} encoder {line}" for line in differences(seen, blind, leave_out=_WEIGHTS))
    if one.evaluation.long_text != two.evaluation.long_text and one.evaluation.long_text is not None:
        yield f"evaluation.long_text ({one.evaluation.long_text}, {two.evaluation.long_text or 'none'})"
    for key in ("dense_head", "caption_head"):
        name, other = (getattr(aligner.evaluation, key) for aligner in (one, two))
        first_head, second_head = params.dense_heads.get(str(name)), params.dense_heads.get(str(other))
        if first_head is not None and second_head is None:
            yield f"evaluation.{key} ({name}, none)"
        elif first_head is not None and second_head is not None:
            said, left_out = key.replace("_", " "), frozenset({"image"})
            yield from (f"{said} {line}" for line in differences(first_head, second_head, leave_out=left_out))


def differences(one: BaseModel, two: BaseModel, leave_out: frozenset[str] = frozenset()) -> Iterator[str]:
    """`key (first, second)` for each key, dotted, at which two entries have other values, defaults written out."""
    first, second = (entry.model_dump(mode="json", exclude=set(leave_out)) for entry in (one, two))
    yield from _unlike("", first, second)


def _unlike(where: str, first: Any, second: Any) -> Iterator[str]:
    if isinstance(first, dict) and isinstance(second, dict) and first.get("kind") == second.get("kind"):
        for key in dict.fromkeys((*first, *second)):
            yield from _unlike(f"{where}.{key}" if where else key, first.get(key), second.get(key))
    elif first != second:
        if isinstance(first, dict) and isinstance(second, dict):
            where, first, second = f"{where}.kind" if where else "kind", first.get("kind"), second.get("kind")
        yield f"{where} ({_short(first)}, {_short(second)})"


def _short(value: Any) -> str:
    return "none" if value is None else ", ".join(value) if isinstance(value, dict) else str(value)
