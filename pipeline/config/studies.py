"""`compare`, `toy` and `predictors`: how alike frozen spaces are before any training, and what that foretells."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import MOST_WIDTH, Name, Names, Positive, PositiveFloat, Repeats, Section, Width

Noise = Annotated[float, Field(ge=0, le=1_000)]


class CompareSpec(Section):
    """Similarity of every candidate pair of an image view and a text view, on samples that no test split holds.

    `control` is one of `images`, a view with random weights, whose figures stand beside the others. `choose_by` is what
    pairs of views are ranked by for `auto`: mean reciprocal rank of the closed-form probe, mutual-kNN, or CKA.
    """

    datasets: Names
    images: Names
    texts: Names
    control: Name
    neighbours: Positive = 10
    permutations: Annotated[int, Field(ge=20, le=100_000)] = 200
    choose_by: Literal["probe", "mutual_knn", "cka"] = "probe"


class SyntheticToy(Section):
    """The poster's synthetic study: A = T1(Z) + w1 U, B = T2(Z) + w2 U; every pair of noise levels, every seed."""

    samples: Annotated[int, Field(ge=64, le=1_000_000)] = 1024
    width: Annotated[int, Field(ge=2, le=MOST_WIDTH)] = 32
    noise: Annotated[tuple[Noise, ...], Field(min_length=2)] = (0.0, 0.25, 0.5, 0.75, 1.0)
    seeds: Repeats = 3


class StudySpec(Section):
    """A study of the views and data sets of an entry of `compare`, or of others where they are written.

    `datasets`, `images` and `texts` stand in place of the comparison's own; its control has to stay among the images.
    """

    compare: Name
    datasets: Names | None = None
    images: Names | None = None
    texts: Names | None = None

    def spaces(self, comparisons: Mapping[str, CompareSpec]) -> CompareSpec:
        """What the study compares: the entry that it names, with what is written here in its place."""
        own = {key: getattr(self, key) for key in ("datasets", "images", "texts") if getattr(self, key) is not None}
        return comparisons[self.compare].model_copy(update=own)


class ToySpec(StudySpec):
    """The poster's two toy studies: similarity against the CLIP loss of small projectors.

    They are trained for `iterations` steps, and validated every `validate_every` of them.
    """

    synthetic: SyntheticToy = SyntheticToy()
    iterations: Annotated[int, Field(ge=1, le=10_000_000)] = 500
    validate_every: Annotated[int, Field(ge=1, le=10_000_000)] = 5
    batch_size: Annotated[int, Field(ge=2, le=2**20)] = 256
    width: Width = 64
    lr: PositiveFloat = 1e-3
    seeds: Repeats = 3
    device: str = "auto"

    @model_validator(mode="after")
    def _validated(self) -> "ToySpec":
        if self.validate_every > self.iterations:
            raise ValueError(
                f"validate_every {self.validate_every} is beyond the {self.iterations} iterations; lower it"
            )
        return self


class PredictorsSpec(StudySpec):
    """The poster's "Why CKA?": what tells, before alignment, how well two encoders will align.

    Alignment is the default's closed form: CCA with `shrink` and kernel ridge with penalty `ridge`, their cosines
    added. `text_tasks` names a data set of source text-tasks, on which the text encoders are scored by themselves.
    Similarities are measured on at most `samples` images. `text_control` is one of the texts, with random weights;
    correlations are given with and without the controls.
    """

    text_tasks: Name | None = None
    text_control: Name | None = None
    samples: Annotated[int, Field(ge=64, le=1_000_000)] = 4096
    shrink: PositiveFloat = 1.0
    ridge: PositiveFloat = 0.3
