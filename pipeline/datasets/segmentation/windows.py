"""Sliding windows over a picture."""

from pipeline.config import SlidingWindows

Box = tuple[int, int, int, int]  # left, top, right, bottom


def window_boxes(width: int, height: int, windows: SlidingWindows) -> list[Box]:
    """Boxes in pixels of the picture, row by row, that cover all of it.

    They are those of mmsegmentation's slide inference: the picture is treated as if resized so that its short side has
    `short_side` pixels; squares of `side` follow at `stride`, and the last of a row or column is moved back inside.
    Corners are rounded to pixels of the original picture.
    """
    scale = windows.short_side / min(width, height)
    across = _spans(width, round(width * scale), windows)
    down = _spans(height, round(height * scale), windows)
    return [(left, top, right, bottom) for top, bottom in down for left, right in across]


def _spans(pixels: int, resized: int, windows: SlidingWindows) -> list[tuple[int, int]]:
    """Where the windows along one side of `pixels` begin and end, that side resized to `resized`."""
    count = max(resized - windows.side + windows.stride - 1, 0) // windows.stride + 1
    ends = [min(place * windows.stride + windows.side, resized) for place in range(count)]
    return [(round((end - windows.side) * pixels / resized), round(end * pixels / resized)) for end in ends]
