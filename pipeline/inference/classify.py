"""Zero-shot classification with class names from the user."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.alignment.zero_shot import classifier
from pipeline.datasets.templates import fill
from pipeline.errors import DataError
from pipeline.inference.arguments import whole_number
from pipeline.inference.inputs import ImageLike, image_list, is_image, text_list


class Label(NamedTuple):
    """A class and its probability."""

    name: str
    probability: float


def class_list(names: Any) -> list[str]:
    """The class names, checked, in the caller's order.

    Raises:
        DataError: there is none, one string, or what `text_list` refuses.
    """
    if isinstance(names, str):
        raise DataError(f"Expected a list of class names, found the string {names!r}.")
    return text_list(names, "class name")


def named_classes(
    names: Sequence[str], templates: Sequence[str], embed: Callable[[list[str]], np.ndarray]
) -> np.ndarray:
    """Unit vectors (C, K) float32 of classes: the mean of the unit vectors of their texts, at unit length again.

    "a {}" becomes "an {}" before a vowel, as in the prompts of the stage `prompts`.

    Args:
        embed: texts -> unit vectors (T, K).

    Raises:
        DataError: a name is repeated, there is no template, or a template does not have exactly one {}.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"Each class may come once; these come more often: {', '.join(twice[:5])}.")
    templates = template_list(templates)
    return classifier([[fill(template, name) for template in templates] for name in names], embed)


def template_list(templates: Sequence[str]) -> tuple[str, ...]:
    """The templates, checked.

    Raises:
        DataError: there is none, or one does not have exactly one {}.
    """
    if isinstance(templates, (str, bytes)) or not isinstance(templates, Sequence) or not templates:
        raise DataError('Expected a list of templates such as ("a picture of a {}.",), ' + f"found {templates!r}.")
    wrong = [template for template in templates if not isinstance(template, str) or template.count("{}") != 1]
    if wrong:
        raise DataError(f"Template {wrong[0]!r} needs exactly one {{}}, which stands for the class name.")
    return tuple(templates)


def probabilities(images: np.ndarray, classes: np.ndarray, logit_scale: float) -> np.ndarray:
    """Softmax of logit_scale times cosine, (N, C) float64.

    Args:
        images, classes: (N, K) and (C, K) unit vectors.
    """
    logits = logit_scale * (images @ classes.T).astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = odds / odds.sum(axis=1, keepdims=True)
    return shares


def best_labels(names: Sequence[str], shares: np.ndarray, top: int | None) -> list[Label]:
    """The `top` most probable classes of one image (all where None), best first; ties in the order given."""
    order = np.argsort(-shares, kind="stable")[:top]
    return [Label(names[column], float(shares[column])) for column in order]


def labelled(
    images: ImageLike | Sequence[ImageLike],
    names: Any,
    top: int | None,
    *,
    classes: Callable[[list[str]], np.ndarray],
    embed: Callable[[list[ImageLike]], np.ndarray],
    logit_scale: float,
) -> list[Label] | list[list[Label]]:
    """What `classify` of a model gives: labels of one picture, or a list of them for a list.

    Args:
        classes: names -> unit vectors (C, K).
        embed: pictures -> unit vectors (N, K).

    Raises:
        DataError: as `class_list`; `top` is no whole number from 1; and what `classes` and `embed` refuse.
    """
    top = None if top is None else whole_number(top, "top")
    names = class_list(names)
    vectors = classes(names)
    shares = probabilities(embed(image_list(images)), vectors, logit_scale)
    labels = [best_labels(names, row, top) for row in shares]
    return labels[0] if is_image(images) else labels
