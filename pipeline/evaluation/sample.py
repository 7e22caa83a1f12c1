"""Which test images are evaluated where there are more than can be compared with all candidates."""

import numpy as np

from pipeline.coded import Coded
from pipeline.datasets.hash_order import hash_order

MOST_RETRIEVED = 10_000  # test images of a repeat: with as many captions, 100 million scores in each direction
MOST_CLASSIFIED = 50_000  # as many as the largest usual benchmark of zero-shot classification has


def sampled(ids: Coded, test: np.ndarray, most: int) -> np.ndarray:
    """The same test rows where there are few images, else those of `most` images, the first by a hash of their id.

    So a new image moves few others, and an image is in the samples of all repeats that test it, or nearly so.

    Args:
        ids: (n,) image of each row.
        test: (n,) bool, the rows that are tested.
        most: images that are kept.

    Returns:
        (n,) bool.
    """
    images = np.unique(ids.codes[test])
    if len(images) <= most:
        return test
    drawn = np.zeros(len(ids.values), dtype=bool)
    drawn[images[hash_order("evaluation", ids.values, images)[:most]]] = True
    return np.asarray(test & drawn[ids.codes])


def sampled_repeats(ids: Coded, test: np.ndarray, most: int) -> np.ndarray:
    """`sampled` of every repeat; `test` is (n, R) bool."""
    return np.stack([sampled(ids, test[:, repeat], most) for repeat in range(test.shape[1])], axis=1)


def sample_note(ids: Coded, before: np.ndarray, after: np.ndarray, where: str) -> str | None:
    """What was left out, in words; None if nothing was.

    Args:
        before, after: (n, R) bool, the rows that could be tested, and those that are.
        where: what is tested.
    """
    if before.sum() == after.sum():
        return None
    counts = [
        (len(np.unique(ids.codes[b])), len(np.unique(ids.codes[a]))) for b, a in zip(before.T, after.T, strict=True)
    ]
    most, kept = max(counts)
    return f"{where}: {kept} of up to {most} test images of a repeat are evaluated, the first by a hash of their id"
