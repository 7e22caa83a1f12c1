"""Ratios of cost: those of the Freeze-Align poster worked out from its own figures, and those of this run."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.accounting.aligners import stored_views

PUBLISHED_NOTES = (
    "The poster says that compute is 65 times lower; its own GPU-hours give 54.6 (OpenAI CLIP) and 63.5 (LAION-400M "
    "CLIP).",
    "The poster's compute table prints 72.7 % ImageNet for OpenAI CLIP and 75.3 % for LAION-400M CLIP; its zero-shot "
    "table has them the other way round.",
    "The poster counts 20M training pairs in its tables, and 15M + 6M = 21M where it lists the sources.",
)


def ratio(
    name: str, inputs: Mapping[str, float | None], formula: str, value: float | None, poster: str | None, note: str
) -> dict[str, Any]:
    """One entry of the table; `poster` is what the poster prints for it."""
    return {
        "name": name,
        "inputs": dict(inputs),
        "formula": formula,
        "value": value,
        "poster": poster,
        "note": note,
    }


def published_ratios() -> list[dict[str, Any]]:
    """The table 'Data and Compute for Alignment' of the poster, each ratio from the figures beside it."""
    entries: list[tuple[str, dict[str, float], str | None, str]] = [
        ("compute_openai_clip", {"clip_gpu_hours": 21_845, "freeze_align_gpu_hours": 400}, "65x", "GPU-hours"),
        ("compute_laion400m_clip", {"clip_gpu_hours": 25_400, "freeze_align_gpu_hours": 400}, "65x", "GPU-hours"),
        ("training_pairs", {"clip_pairs": 400e6, "freeze_align_pairs": 20e6}, "20x", "image-caption pairs"),
        ("samples_seen", {"clip_samples": 12.8e9, "freeze_align_samples": 0.6e9}, None, "pairs times epochs"),
        (
            "trainable_parameters",
            {"clip_trainable": 427e6, "freeze_align_trainable": 11.5e6},
            None,
            "CLIP trains all of its parameters",
        ),
        (
            "trainable_share",
            {"freeze_align_trainable": 11.5e6, "freeze_align_total": 670e6},
            "11.5M / 670M",
            "of DINOv2-L and All-Roberta-Large with their projectors",
        ),
    ]
    made = []
    for name, inputs, poster, note in entries:
        (first, above), (second, below) = inputs.items()
        made.append(ratio(f"poster.{name}", inputs, f"{first} / {second}", above / below, poster, note))
    return made


def seconds_at_use(aligner: Mapping[str, Any], stages: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """By modality the seconds that an input takes in all encoders of an aligner; None where no run is on record."""
    views = {modality: dict.fromkeys(named, 1) for modality, named in stored_views(aligner).items()}
    return {modality: _total(named, _per_row(named, stages)) for modality, named in views.items()}


def own_ratios(aligners: Sequence[Mapping[str, Any]], stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same for this run, and what encoding once saves; aligners that trained nothing are left out."""
    aligners = [aligner for aligner in aligners if aligner["samples_seen"]]
    if not aligners:
        return []
    shown = next((aligner for aligner in aligners if aligner["aligner"] == "default"), aligners[0])
    name = shown["aligner"]
    return [
        ratio(
            f"{name}.trainable_share",
            {"trainable": shown["trainable"], "total": shown["total"]},
            "trainable / total",
            shown["trainable_share"],
            None,
            f"aligner {name} with both of its frozen encoders",
        ),
        *_encode_once(aligners, stages),
    ]


def _encode_once(aligners: Sequence[Mapping[str, Any]], stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Backbone passes and seconds, against those of a run that kept the encoders in the training loop."""
    views = sorted({view for aligner in aligners for view in _views(aligner)})
    stores = {view: stores_of(view, stages) for view in views}
    once = {view: sum(store["rows"] for store in stores[view]) for view in views}
    seen = dict.fromkeys(views, 0)
    for aligner in aligners:
        for view in _views(aligner):
            seen[view] += aligner["samples_seen"]
    per_row = _per_row(views, stages)
    unknown = [view for view in views if per_row[view] is None]
    seconds_in_loop = _total(seen, per_row)
    seconds_once = _total(once, per_row)
    counted = ", ".join(f"{aligner['aligner']} {aligner['samples_seen']}" for aligner in aligners)
    arithmetic = (
        "Arithmetic, not a measurement: had the encoders been in the loop, each sample seen, in every epoch, repeat "
        f"and aligner ({counted}), would have passed through both; rows are those of all stores of the trained views."
    )
    passes_once, passes_in_loop = sum(once.values()), sum(seen.values())
    lacking = f" No run of these views is on record here: {', '.join(unknown)}." if unknown else ""
    return [
        ratio(
            "encode_once.rows_through_backbones",
            {"rows_in_loop": passes_in_loop, "rows_once": passes_once},
            "rows_in_loop / rows_once",
            passes_in_loop / passes_once if passes_once else None,
            None,
            arithmetic,
        ),
        ratio(
            "encode_once.backbone_seconds",
            {
                "seconds_in_loop": seconds_in_loop,
                "seconds_once": seconds_once,
                **{f"seconds_per_row_{view}": per_row[view] for view in views},
            },
            "seconds_in_loop / seconds_once, each the sum over views of rows times measured seconds per row",
            seconds_in_loop / seconds_once if seconds_in_loop and seconds_once else None,
            None,
            f"{arithmetic} Seconds per row are those of the encode runs on this machine, loading included.{lacking}",
        ),
    ]


def _views(aligner: Mapping[str, Any]) -> list[str]:
    return [view for named in stored_views(aligner).values() for view in named]


def stores_of(view: str, stages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The stages that encoded through a view."""
    return [stage for stage in stages if stage["group"] == "encode" and stage["view"] == view]


def _per_row(views: Iterable[str], stages: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    return {view: _seconds_per_row(stores_of(view, stages)) for view in views}


def _seconds_per_row(stores: Sequence[Mapping[str, Any]]) -> float | None:
    """Over all runs on record of the stores of one view."""
    rows = sum(store["backbone_rows"] or 0 for store in stores)
    return sum(store["backbone_seconds"] or 0.0 for store in stores) / rows if rows else None


def _total(rows: Mapping[str, int], per_row: Mapping[str, float | None]) -> float | None:
    """Seconds in all; None where those of some view are not known."""
    parts = [count * seconds for view, count in rows.items() if (seconds := per_row[view]) is not None]
    return sum(parts) if len(parts) == len(rows) else None
