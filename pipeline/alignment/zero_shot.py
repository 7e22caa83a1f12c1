"""Zero-shot classifiers: the texts of a class become one vector."""

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.errors import DataError

_CANCELS = 1e-6  # length of a mean of unit vectors below which its direction is rounding


def classifier(
    classes: Sequence[Sequence[str]], embed: Callable[[list[str]], np.ndarray], kind: str = "unit"
) -> np.ndarray:
    """One vector per class, (C, K) float32, as `class_vectors` makes it.

    Args:
        classes: the texts of each class, or their ids; every class has one.
        embed: those texts, class by class -> unit vectors (T, K).

    Raises:
        DataError: as `class_vectors`; it names the texts of the class.
    """
    texts = [text for of_class in classes for text in of_class]
    owner = np.repeat(np.arange(len(classes)), [len(of_class) for of_class in classes])
    return class_vectors(embed(texts), owner, kind, classes)


def class_vectors(
    texts: np.ndarray, classes: np.ndarray, kind: str = "unit", names: Sequence[Sequence[str]] | None = None
) -> np.ndarray:
    """Zero-shot classifier weights: per class the mean of its unit text vectors, brought back to unit length.

    As CLIP does (Radford et al. 2021); Freeze-Align's own code leaves the mean as it is, which favours classes whose
    prompts agree.

    Args:
        texts: (T, K) unit vectors of prompts.
        classes: (T,) int64, the class of each, from 0 without gaps.
        kind: "unit", or "mean" to leave the mean as it is.
        names: per class what its texts are called in an error.

    Returns:
        (C, K) float32, unit vectors unless `kind` is "mean".

    Raises:
        DataError: the vectors of a class are not finite, or cancel each other, so that their mean has no direction; of
            `kind` "mean" such a mean is left, and the class scores 0 for every image.
    """
    if (np.diff(classes) < 0).any():
        order = np.argsort(classes, kind="stable")
        texts, classes = texts[order], classes[order]
    starts = np.searchsorted(classes, np.arange(int(classes.max()) + 1))
    ends = np.append(starts[1:], len(classes))
    out = np.empty((len(starts), texts.shape[1]), dtype=np.float32)
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        total = texts[start:end].sum(axis=0, dtype=np.float64)
        length = float(np.linalg.norm(total))
        if not np.isfinite(length) or (kind == "unit" and length <= _CANCELS * (end - start)):
            raise DataError(_without_direction(place, len(starts), end - start, length, names))
        out[place] = total / (length if kind == "unit" else end - start)
    return out


def _without_direction(
    place: int, classes: int, texts: int, length: float, names: Sequence[Sequence[str]] | None
) -> str:
    shown = f" ({', '.join(map(repr, names[place][:3]))}{', ...' if texts > 3 else ''})" if names else ""
    what = "cancel each other, so that their mean has no direction" if np.isfinite(length) else "are not finite"
    return (
        f"Class {place + 1} of {classes}: expected texts with a common direction; the vectors of its {texts} texts"
        f"{shown} {what}. Change the prompts of this class, or look at the text features with: "
        "python -m pipeline.store verify"
    )
