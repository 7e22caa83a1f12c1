"""Long captions of composed scenes: a sentence per object, with its place, its size and its neighbours."""

from collections.abc import Sequence

from pipeline.datasets.scenes.compose import Composition, Placed
from pipeline.datasets.scenes.draws import pick

_PLACES = (
    ("in the upper left", "at the top", "in the upper right"),
    ("on the left", "in the centre", "on the right"),
    ("in the lower left", "at the bottom", "in the lower right"),
)
_SIZES = (  # up to this share of the picture
    (0.01, ("tiny in comparison", "very small", "of the smallest size")),
    (0.025, ("quite small in size", "rather small", "small in size")),
    (0.06, ("of medium size", "neither large nor small", "of middling size")),
    (1.0, ("rather large", "large in size", "taking up a good part of the picture")),
)
_SENTENCES = (
    "{place} one can see {name}, {size}, {relations}.",
    "{place}, {relations}, the scene shows {name}, {size}.",
    "The picture shows {name} {place}, {size}, {relations}.",
    "Someone has placed {name} {place}, {size}, {relations}.",
    "Look {place} to find {name}, {size}, {relations}.",
    "{relations} you will find {name}, {size}, {place} of the scene.",
)
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def long_caption(number: int, scene: Composition) -> str:
    """The caption of scene `number`: its objects, largest first, then their number and the background.

    An object takes about 30 word pieces, so that twelve objects go beyond 300.
    """
    objects = scene.objects
    sentences = [_sentence(number, thing, _nearest(thing, objects)) for thing in objects]
    count = _NUMBERS[len(objects)] if len(objects) < len(_NUMBERS) else str(len(objects))
    things = "is a single thing" if len(objects) == 1 else f"are {count} things in all"
    return " ".join([*sentences, f"There {things} on a {scene.background} background."])


def _sentence(number: int, thing: Placed, neighbours: Sequence[Placed]) -> str:
    key = (number, thing.piece.image_id)
    place = _place(thing.centre)
    relations = " and ".join(f"{_direction(thing, other)} {other.piece.again}" for other in neighbours)
    text = pick(_SENTENCES, *key, "sentence").format(
        name=thing.piece.first,
        place=place,
        size=pick(next(words for limit, words in _SIZES if thing.share <= limit), *key, "size words"),
        relations=relations or "with nothing around",
    )
    return text[0].upper() + text[1:]


def _nearest(thing: Placed, objects: Sequence[Placed]) -> list[Placed]:
    """The two other objects whose centres are nearest."""

    def distance(other: Placed) -> float:
        return (thing.centre[0] - other.centre[0]) ** 2 + (thing.centre[1] - other.centre[1]) ** 2

    return sorted((other for other in objects if other is not thing), key=distance)[:2]


def _place(centre: tuple[float, float]) -> str:
    column, row = (min(2, int(3 * value)) for value in centre)
    return _PLACES[row][column]


def _direction(thing: Placed, other: Placed) -> str:
    """Where `thing` is, seen from `other`."""
    right, down = thing.centre[0] - other.centre[0], thing.centre[1] - other.centre[1]
    vertical = "below" if down > 0 else "above"
    horizontal = "to the right of" if right > 0 else "to the left of"
    if abs(right) > 2 * abs(down):
        return horizontal
    return vertical if abs(down) > 2 * abs(right) else f"{vertical} and {horizontal}"
