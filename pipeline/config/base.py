"""What every section of params.yaml shares: the base model, the kinds of numbers, and the rules for names."""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from pipeline.languages import known_dialect, known_language

LONGEST_NAME = 100  # file systems stop at 255 bytes, and DVC and this project add to a name
RECORDED = {"recorded": True}  # context in which an entry is validated that was written out with its defaults
_ALLOWED = "abcdefghijklmnopqrstuvwxyz0123456789._-"
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "nan", "inf"}


def valid_name(name: str) -> str:
    """The name itself, if it may become a stage, a folder and a key of an experiment.

    Raises:
        ValueError: it may not; the message says why, and what to write instead.
    """
    if not name or name[0] not in _ALLOWED[:36] or any(letter not in _ALLOWED for letter in name):
        raise ValueError(
            f"{name!r} cannot be a name: use lower-case letters, digits, `.`, `_` and `-`, beginning with a letter or "
            "digit"
        )
    if len(name) > LONGEST_NAME:
        raise ValueError(f"a name of {len(name)} letters is too long for a folder; {LONGEST_NAME} is the most")
    if name.endswith((".partial", ".")) or ".." in name:
        raise ValueError(f"{name!r} cannot be a name: folders that end so are unfinished work, or lead elsewhere")
    if name in _WORDS or _is_number(name):
        raise ValueError(f"{name!r} cannot be a name: YAML reads it as a value; add a letter, as in `v-{name}`")
    return name


def _is_number(name: str) -> bool:
    try:
        float(name.replace("_", ""))
    except ValueError:
        return False
    return True


Name = Annotated[str, AfterValidator(valid_name)]
# Every number has a least and a greatest value, so that a slip of the keyboard is told at once and not by a machine
# without memory hours later. A test walks all models.
MOST_SEED = 2**52 - 1  # torch takes 64 bits, and a stage draws with (seed + that of a member) * repeats + repeat
MOST_SIDE = 8_192  # of a picture, px
MOST_WIDTH = 65_536  # of a feature vector
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
Repeats = Annotated[int, Field(ge=1, le=1_000)]
Share = Annotated[float, Field(ge=0, le=1)]
Language = Annotated[str, AfterValidator(known_language)]
Dialect = Annotated[str, AfterValidator(known_dialect)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1, le=1_000_000)]
NonNegative = Annotated[int, Field(ge=0, le=1_000_000)]
Side = Annotated[int, Field(ge=1, le=MOST_SIDE)]
Width = Annotated[int, Field(ge=1, le=MOST_WIDTH)]
Tokens = Annotated[int, Field(ge=1, le=10_000_000)]
Samples = Annotated[int, Field(ge=1, le=10**12)]
Bits = Annotated[int, Field(ge=8, le=16)]
Limit = Annotated[int, Field(ge=0, le=10**12)]  # 0: none
Batch = Annotated[int, Field(ge=1, le=2**20)]
Steps = Annotated[int, Field(ge=0, le=10**9)]
PositiveFloat = Annotated[float, Field(gt=0, le=1e9)]
NonNegativeFloat = Annotated[float, Field(ge=0, le=1e9)]


def _once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} is listed more than once")
    return values


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))


Once = AfterValidator(_once)
Languages = Annotated[tuple[Language, ...], AfterValidator(_distinct)]  # "de" and "German" are one
Dialects = Annotated[tuple[Dialect, ...], AfterValidator(_distinct)]
Names = Annotated[tuple[Name, ...], Field(min_length=1), Once]


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


# One value, or several of which validation recall chooses.
PositiveValues = Annotated[tuple[PositiveFloat, ...], Field(min_length=1), BeforeValidator(_listed)]
NonNegativeValues = Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1), BeforeValidator(_listed)]
PositiveCounts = Annotated[tuple[Positive, ...], Field(min_length=1), BeforeValidator(_listed)]


class Section(BaseModel):
    """A part of params.yaml: immutable, no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def refuse(self, keys: Iterable[str], because: str) -> None:
        """Refuse keys that are written here although they have no effect.

        Raises:
            ValueError: names those that are written.
        """
        written = [key for key in keys if key in self.model_fields_set]
        if written:
            raise ValueError(f"{' and '.join(f'`{key}`' for key in written)} would have no effect: {because}")


class DeepPictures(Section):
    """How many bits of pictures with more than 8 a sample are used; not written out where none are stated."""

    bits: Bits | None = None

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        out: dict[str, Any] = write(self)
        if self.bits is None:
            out.pop("bits", None)
        return out
