"""Names of results in plain English."""

import re
from collections.abc import Sequence
from itertools import permutations

from markupsafe import Markup, escape

from pipeline.config.modalities import DEFAULT, ORDER, one
from pipeline.reporting.inputs import Node

_LANGUAGES = {
    "ar": "Arabic",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fa": "Persian",
    "fr": "French",
    "hi": "Hindi",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "pt": "Portuguese",
    "ru": "Russian",
    "tr": "Turkish",
    "zh": "Chinese",
    "average": "other languages (mean)",
}


def shown(modality: str) -> str:
    """What a sample of a modality is called on the page."""
    return "picture" if modality == "image" else one(modality)


_METRICS = (
    (re.compile(r"^t2i_recall@(\d+)$"), r"text to image, R@\1"),
    (re.compile(r"^i2t_recall@(\d+)$"), r"image to text, R@\1"),
    (re.compile(r"^t2i_recall@(\d+)_chunked$"), r"text to image, R@\1, whole text in pieces"),
    (re.compile(r"^i2t_recall@(\d+)_chunked$"), r"image to text, R@\1, whole text in pieces"),
    (re.compile(r"^t2i_median_rank$"), "text to image, median rank"),
    (re.compile(r"^i2t_median_rank$"), "image to text, median rank"),
    *(
        (
            re.compile(rf"^(?:(\w+)_)?{first[0]}2{second[0]}_recall@(\d+)$"),
            rf"\1: {shown(first)} to {shown(second)}, R@\2",
        )
        for first, second in permutations(ORDER, 2)
        if {first, second} != {*DEFAULT}
    ),
    (re.compile(r"^(\w+)_top(\d+)_accuracy$"), r"\1 top-\2 accuracy"),
    (re.compile(r"^(\w+)_mean_per_class_accuracy$"), r"\1 accuracy, mean per class"),
    (re.compile(r"^(\w+)_pixel_accuracy$"), r"\1 pixel accuracy"),
    (re.compile(r"^(\w+)_text_ceiling$"), r"\1, text alone (ceiling)"),
    (re.compile(r"^(\w+)_mIoU$"), r"\1 mIoU"),
    (re.compile(r"^(\w+)_with_background$"), r"\1 with background"),
    (re.compile(r"^freeze_align_IoU$"), "Freeze-Align's IoU of present classes (not mIoU)"),
)


def language(code: str) -> str:
    """The English name of a language code; an unknown code stays as it is."""
    return _LANGUAGES.get(code, code)


def metric(name: str) -> str:
    """A metric in words; an unknown one stays as it is."""
    for pattern, words in _METRICS:
        if pattern.match(name):
            return pattern.sub(words, name)
    return name


def is_fraction(name: str) -> bool:
    """Whether a metric is a fraction, shown in per cent; a rank is not."""
    return not name.endswith("rank")


def key_of(row: Node) -> tuple[str, str, str, str, str]:
    """What a row or a difference is about: data set, metric, prompts, language, tokens; "" for what it lacks."""
    tokens = row.get("tokens")
    return (
        row["dataset"].text(),
        row["metric"].text(),
        row.optional("prompt_set"),
        row.optional("language"),
        "" if tokens is None else f"{tokens.number():.0f}",
    )


def counted(number: int, noun: str) -> str:
    """`1 pair`, `2 pairs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([part for part in (", ".join(names[:-1]), *names[-1:]) if part])


def prose(text: str) -> Markup:
    """Plain text as HTML, with `backticks` as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # an odd backtick is itself
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(p) if n % 2 else escape(p) for n, p in enumerate(parts))


def protocol(node: Node) -> Markup:
    """How the figures of a file were made, as a paragraph."""
    return Markup("<strong>Protocol.</strong> {}").format(prose(node["protocol"].text()))
