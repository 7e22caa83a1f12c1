"""Perceptual hashes of pictures, and pairs that differ in a few bits."""

from collections.abc import Iterable

import numpy as np
from PIL import Image
from scipy.fft import dctn

BITS = 64
CUTS = 10  # hashes of `cut_hashes`
_SIDE, _KEPT = 32, 8
_CUT = 0.1  # of width and height
_PIECE = 1 << 22  # comparisons at a time


def perceptual_hash(picture: Image.Image) -> int:
    """64 bits of a picture that resizing, compression and a change of colours leave nearly as they are (pHash).

    The signs of the 8 x 8 lowest frequencies of the grey picture at 32 x 32, about their median without the mean.
    """
    picture = picture if picture.mode == "L" else picture.convert("L")
    grey = np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), np.float64)
    low = dctn(grey, norm="ortho")[:_KEPT, :_KEPT].reshape(-1)
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def cut_hashes(picture: Image.Image) -> list[int]:
    """The hash of a picture and those of nine cuts of it, 90 % as wide and high, from corner to corner.

    One that was cropped by about 10 % somewhere is near one of them, and far from the whole picture.
    """
    width, height = picture.size
    x, y = round(width * _CUT), round(height * _CUT)
    places = [(left, top) for left in (0, x // 2, x) for top in (0, y // 2, y)]
    grey = picture.convert("L")
    whole = perceptual_hash(grey)
    if not 0 < x < width or not 0 < y < height:
        return [whole] * CUTS
    boxes = [(left, top, left + width - x, top + height - y) for left, top in places]
    return [whole, *(perceptual_hash(grey.crop(box)) for box in boxes)]  # `box` of resize would look beyond it


def hashes_of(pictures: Iterable[Image.Image]) -> np.ndarray:
    """Of several, (n,) uint64."""
    return np.array([perceptual_hash(picture) for picture in pictures], np.uint64)


def flat(hashes: np.ndarray) -> np.ndarray:
    """Which (n,) bool are of pictures with hardly anything on them, whose bits are noise: almost all bits are equal."""
    ones = np.bitwise_count(hashes)
    return np.asarray((ones < 4) | (ones > BITS - 4))


def hash_pairs(ours: np.ndarray, most: int, theirs: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (P,) and (P,) of places whose hashes differ in `most` bits or fewer.

    Of two that differ in at most m bits, one of m + 1 parts is equal (multi-index hashing, Norouzi et al. 2012), so
    only those that share a part are compared.

    Args:
        ours: (n,) uint64.
        theirs: (m,) uint64, what `ours` are compared with; with each other where None, the lower place first.
    """
    other = ours if theirs is None else theirs
    found = [np.empty((0, 2), np.int64)]
    edges = np.linspace(0, BITS, most + 2).round().astype(int)
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        mask = np.uint64(((1 << (high - low)) - 1) << low)
        left, right = ours & mask, other & mask
        order = np.argsort(right, kind="stable")
        first = np.searchsorted(right[order], left, side="left")
        count = np.searchsorted(right[order], left, side="right") - first
        ends = np.cumsum(count)
        start = 0
        while start < len(ours):  # as many of ours as are compared in one piece of memory
            stop = max(start + 1, int(np.searchsorted(ends, (ends[start - 1] if start else 0) + _PIECE)))
            here = np.repeat(np.arange(start, stop), count[start:stop])
            inside = np.arange(len(here)) - np.repeat(
                ends[start:stop] - count[start:stop] - (ends[start - 1] if start else 0), count[start:stop]
            )
            there = order[np.repeat(first[start:stop], count[start:stop]) + inside]
            if theirs is None:
                here, there = here[upper := there > here], there[upper]
            near = np.bitwise_count(ours[here] ^ other[there]) <= most
            found.append(np.stack([here[near], there[near]], axis=1))
            start = stop
    pairs = np.unique(np.concatenate(found), axis=0)
    return pairs[:, 0], pairs[:, 1]


def copied_pairs(cuts: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (P,) and (P,) of pictures, the lower first, of which one is nearly the other or a cut of it.

    Args:
        cuts: (n, 10) uint64, as `cut_hashes` gives them; those of which hardly anything is on are not compared.
    """
    whole = np.flatnonzero(~flat(cuts[:, 0]))
    every = np.flatnonzero(~flat(cuts.reshape(-1)))
    one, other = hash_pairs(cuts[whole, 0], most, cuts.reshape(-1)[every])
    first, second = whole[one], every[other] // cuts.shape[1]
    apart = first != second
    pairs = np.unique(np.stack([np.minimum(first, second), np.maximum(first, second)], axis=1)[apart], axis=0)
    return pairs[:, 0], pairs[:, 1]
