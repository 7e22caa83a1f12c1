"""Composes cut-outs into one picture: sizes, places, occlusion, and the mask of each object."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.datasets.scenes.draws import pick, uniform
from pipeline.datasets.scenes.pool import Piece, solid
from pipeline.errors import DataError

BACKGROUNDS = {
    "pale blue": (198, 219, 239),
    "light grey": (222, 222, 222),
    "cream": (250, 243, 221),
    "pale green": (205, 229, 200),
    "lavender": (221, 214, 240),
    "peach": (252, 220, 196),
    "pink": (248, 211, 222),
    "sandy": (229, 213, 178),
    "turquoise": (178, 226, 226),
    "white": (250, 250, 250),
}
MARGIN = 1 / 16  # left free on each side: encoders that resize to 256 and crop 224 see the inner 7/8 of a picture
_FILL = 0.45  # of what is inside the margins, before objects cover each other or are made smaller
_LONGEST = 0.8  # longer side of an object, as a share of what is inside the margins
_KEPT = 0.7  # share of its own pixels that every object keeps in view
_TRIES = 96  # places drawn before an object is made smaller
_SMALLER = 0.88
_LEAST = 4  # pixels of the longer side


@dataclass(frozen=True)
class Placed:
    """An object in a scene.

    Attributes:
        pixels: how many are visible; share: of the whole picture.
        centre: centre of mass of the visible pixels (x, y), as shares of the side.
    """

    piece: Piece
    pixels: int
    share: float
    centre: tuple[float, float]


@dataclass(frozen=True)
class Composition:
    """A scene.

    Attributes:
        image: RGB.
        instances: (size, size) uint8, 0 background, k for `objects[k - 1]`.
        objects: largest first, by visible pixels.
        background: the name of its colour.
    """

    image: Image.Image
    instances: np.ndarray
    objects: tuple[Placed, ...]
    background: str


def compose(number: int, candidates: Sequence[Piece], count: int, size: int) -> Composition:
    """Compose scene `number` of `count` objects of different concepts.

    Which pieces, how large, where and on what: each follows from a hash of the scene's number and the piece, so
    adding or removing a piece changes only scenes that contain it. Larger objects are beneath smaller ones; each keeps
    70 % of its pixels in view.

    Args:
        candidates: at least `count` concepts.
        size: side in pixels.

    Raises:
        DataError: a picture cannot be read, or there is no room.
    """
    chosen = _chosen(number, candidates, count)
    inside = size * (1 - 2 * MARGIN)
    area = inside**2 * _FILL / count
    sides = [_side(cut_out, area * (0.5 + uniform(number, p.image_id, "area")), inside) for p, cut_out in chosen]
    beneath_first = sorted(range(count), key=lambda k: (-sides[k], chosen[k][0].image_id))
    background = pick(tuple(BACKGROUNDS), number, "background")
    canvas = _Canvas(number, _backdrop(number, background, size))
    for k in beneath_first:
        canvas.add(*chosen[k], sides[k])
    order = sorted(range(count), key=lambda k: (-canvas.visible[k], k))
    rank = np.zeros(256, dtype=np.uint8)
    rank[np.array(order) + 1] = np.arange(1, count + 1)
    ranked = rank[canvas.instances]
    pieces = [chosen[beneath_first[k]][0] for k in order]
    objects = tuple(_placed(piece, ranked == place) for place, piece in enumerate(pieces, start=1))
    return Composition(canvas.image.convert("RGB"), ranked, objects, background)


def _chosen(number: int, candidates: Sequence[Piece], count: int) -> list[tuple[Piece, Image.Image]]:
    """The first `count` pieces of different concepts in the order of their hashes, with their pictures."""
    chosen: dict[str, tuple[Piece, Image.Image]] = {}
    for piece in sorted(candidates, key=lambda piece: (uniform(number, piece.image_id), piece.image_id)):
        if piece.concept not in chosen and (cut_out := piece.cut_out()) is not None:
            chosen[piece.concept] = (piece, cut_out)
        if len(chosen) == count:
            return list(chosen.values())
    raise DataError(
        f"Scene {number} needs {count} cut-outs of different concepts, found {len(chosen)} with solid pixels. "
        "Lower scenes.objects in params.yaml or name more data sets in scenes.pieces."
    )


def _side(cut_out: Image.Image, area: float, inside: float) -> float:
    """Longer side at which the solid pixels cover `area`, within what fits."""
    scale = (area / max(1, int(solid(cut_out).sum()))) ** 0.5
    return float(min(max(cut_out.size) * scale, _LONGEST * inside))


class _Canvas:
    """A scene being composed: `visible[k]` of the `own[k]` pixels of object k, instance k + 1, are still in view."""

    def __init__(self, number: int, image: Image.Image) -> None:
        self.number, self.image = number, image
        self.instances = np.zeros((image.height, image.width), dtype=np.uint8)
        self.own: list[int] = []
        self.visible: list[int] = []

    def add(self, piece: Piece, cut_out: Image.Image, side: float) -> None:
        """Place an object, `side` pixels long, where it hides little of the others; smaller if there is no such place.

        Raises:
            DataError: there is no room.
        """
        round_number = 0
        while side >= _LEAST:
            scale = side / max(cut_out.size)
            shape = (max(1, round(cut_out.width * scale)), max(1, round(cut_out.height * scale)))
            layer = cut_out.resize(shape, Image.Resampling.LANCZOS)
            if (mask := solid(layer)).any() and self._lay(layer, mask, (self.number, piece.image_id, round_number)):
                return
            side *= _SMALLER
            round_number += 1
        raise DataError(
            f"Scene {self.number} has no room for {piece.dataset} picture {piece.image_id} ({piece.concept}). "
            "Lower scenes.objects or raise scenes.size in params.yaml."
        )

    def _lay(self, layer: Image.Image, mask: np.ndarray, key: tuple[object, ...]) -> bool:
        size = len(self.instances)
        low = round(size * MARGIN)
        for attempt in range(_TRIES):
            x = low + int(uniform(*key, attempt, "x") * (size - 2 * low - layer.width + 1))
            y = low + int(uniform(*key, attempt, "y") * (size - 2 * low - layer.height + 1))
            region = self.instances[y : y + layer.height, x : x + layer.width]
            hidden = np.bincount(region[mask], minlength=len(self.own) + 1)[1:].tolist()
            left = [seen - lost for seen, lost in zip(self.visible, hidden, strict=True)]
            if all(seen >= _KEPT * whole for seen, whole in zip(left, self.own, strict=True)):
                region[mask] = len(self.own) + 1
                self.own.append(int(mask.sum()))
                self.visible = [*left, self.own[-1]]
                self.image.alpha_composite(layer, (x, y))
                return True
        return False


def _backdrop(number: int, name: str, size: int) -> Image.Image:
    """A plain colour that grows lighter towards one side."""
    ramp = np.linspace(0, 0.4 * uniform(number, "ramp"), size)
    ramp = pick((ramp, ramp[::-1]), number, "from")
    lighter = np.broadcast_to(ramp[:, None] if uniform(number, "axis") < 0.5 else ramp[None, :], (size, size))
    colour = np.array(BACKGROUNDS[name], dtype=np.float64)
    pixels = colour + (255 - colour) * lighter[..., None]
    return Image.fromarray(pixels.round().astype(np.uint8)).convert("RGBA")


def _placed(piece: Piece, mask: np.ndarray) -> Placed:
    rows, columns = mask.nonzero()
    centre = ((float(columns.mean()) + 0.5) / len(mask), (float(rows.mean()) + 0.5) / len(mask))
    return Placed(piece, len(rows), len(rows) / mask.size, centre)
