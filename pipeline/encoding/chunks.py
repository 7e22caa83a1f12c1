"""Splits long texts into pieces that fit an encoder: whole sentences packed together; only a long sentence is cut."""

import re
from collections.abc import Callable, Sequence

Lengths = Callable[[list[str]], list[int]]
_END = re.compile(r"(?<=[.!?…;])\s+|(?<=[。！？；])|\n+")


def chunks(text: str, lengths: Lengths, limit: int) -> list[str]:
    """The pieces of one text in order, each of at most about `limit` tokens; a text that fits is one piece.

    Sentences are joined as long as they fit. A sentence that is too long on its own is halved between words until it
    fits; a single word that is too long stays whole, and the encoder truncates it.

    Args:
        lengths: number of tokens of each text, special tokens and prefix included; for texts longer than `limit` it
            may be truncated, but not to `limit` or less.
    """
    pieces = [part for part in (sentence.strip() for sentence in _END.split(text)) if part] or [text]
    fitting = [part for piece in pieces for part in _halved(piece, lengths, limit)]
    around = lengths([""])[0]
    counts = [count - around for count in lengths(fitting)]
    packed, room = [fitting[0]], limit - around - counts[0]
    for part, count in zip(fitting[1:], counts[1:], strict=True):
        if count <= room:
            packed[-1] += " " + part
            room -= count
        else:
            packed.append(part)
            room = limit - around - count
    return packed


def _halved(text: str, lengths: Lengths, limit: int) -> Sequence[str]:
    words = text.split()
    if len(words) < 2 or lengths([text])[0] <= limit:
        return [text]
    middle = len(words) // 2
    halves = (" ".join(words[:middle]), " ".join(words[middle:]))
    return [part for half in halves for part in _halved(half, lengths, limit)]
