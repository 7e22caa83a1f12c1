"""What heads are fitted on and tested on: `splits`, `scenes` and `curations`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import Fraction, Name, Names, Once, Positive, Repeats, Samples, Section

Label = Literal["concept", "category"]
MOST_SCENE = 4_096  # px; a scene holds a mask for each of its objects


class ClassificationSet(Section):
    """Which labels of which data set are classes."""

    dataset: Name
    label: Label


class SplitsParams(Section):
    """Held-out concept families; the split of repeat i is drawn with seed `seed * repeats + i`.

    `development` is the share of images whose families no repeat ever tests, so that choices can be made on them.
    """

    repeats: Repeats = 5
    validation: Fraction = 0.1
    test: Fraction = 0.2
    largest_family: Fraction = 0.05
    development: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _room_for_train(self) -> "SplitsParams":
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test = {self.validation + self.test:g} leaves nothing to train on")
        if self.development + self.test >= 1:
            found = self.development + self.test
            raise ValueError(f"development + test = {found:g}: families for development are never tested; lower one")
        return self


class ScenesSpec(Section):
    """Composed scenes: cut-outs of the data sets `pieces` on a background, `objects` of them (from, to) per scene.

    Scenes for `training`, from whose objects dense heads learn, are others than those for `evaluation`.
    """

    pieces: Names
    use: Literal["evaluation", "training"] = "evaluation"
    count: Positive = 200
    size: Annotated[int, Field(ge=32, le=MOST_SCENE)] = 224
    objects: tuple[Positive, Positive] = (2, 12)

    @model_validator(mode="after")
    def _range(self) -> "ScenesSpec":
        low, high = self.objects
        if low > high:
            raise ValueError(f"objects goes from {low} down to {high}; write the smaller number first")
        if high > 64:
            raise ValueError(f"objects goes up to {high}; a scene holds at most 64")
        return self


class _Curation(Section):
    """Which training images of the data sets in `pool` a head may see, per repeat, as seen through `view`."""

    pool: Names
    view: Name


class AllImages(_Curation):
    """Every train image of the pool."""

    method: Literal["all"] = "all"

    @property
    def images(self) -> None:
        """None: every image is kept."""
        return


class RandomImages(_Curation):
    """`images` of them, in hash order."""

    method: Literal["random"]
    images: Samples


class PrototypeImages(_Curation):
    """Few-shot concept prototypes retrieve `candidates` each; a balanced assignment keeps `images`."""

    method: Literal["prototypes"]
    images: Samples
    concepts: Annotated[tuple[ClassificationSet, ...], Field(min_length=1), Once]
    shots: Positive = 8
    candidates: Samples = 512


AnyCuration = AllImages | RandomImages | PrototypeImages
CurationSpec = Annotated[AnyCuration, Field(discriminator="method")]
