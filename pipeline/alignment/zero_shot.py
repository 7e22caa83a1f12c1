"""Zero-shot classifiers: the texts of a class become one vector."""

from collections.abc import Callable, Sequence

import numpy as np


def classifier(
    classes: Sequence[Sequence[str]], embed: Callable[[list[str]], np.ndarray], kind: str = "unit"
) -> np.ndarray:
    """One vector per class, (C, K) float32, as `class_vectors` makes it.

    Args:
        classes: the texts of each class, or their ids; every class has one.
        embed: those texts, class by class -> unit vectors (T, K).
    """
    texts = [text for of_class in classes for text in of_class]
    owner = np.repeat(np.arange(len(classes)), [len(of_class) for of_class in classes])
    return class_vectors(embed(texts), owner, kind)


def class_vectors(texts: np.ndarray, classes: np.ndarray, kind: str = "unit") -> np.ndarray:
    """Zero-shot classifier weights: per class the mean of its unit text vectors, brought back to unit length.

    As CLIP does (Radford et al. 2021); Freeze-Align's own code leaves the mean as it is, which favours classes whose
    prompts agree.

    Args:
        texts: (T, K) unit vectors of prompts.
        classes: (T,) int64, the class of each, from 0 without gaps.
        kind: "unit", or "mean" to leave the mean as it is.

    Returns:
        (C, K) float32, unit vectors unless `kind` is "mean".
    """
    if (np.diff(classes) < 0).any():
        order = np.argsort(classes, kind="stable")
        texts, classes = texts[order], classes[order]
    starts = np.searchsorted(classes, np.arange(int(classes.max()) + 1))
    ends = np.append(starts[1:], len(classes))
    out = np.empty((len(starts), texts.shape[1]), dtype=np.float32)
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        total = texts[start:end].sum(axis=0, dtype=np.float64)
        out[place] = total / (np.linalg.norm(total) if kind == "unit" else end - start)
    return out
