"""`compare` and `toy`: how alike frozen spaces are before any training, and what that foretells."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Name, Names, Positive, PositiveFloat, Section


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
    permutations: Annotated[int, Field(ge=20)] = 200
    choose_by: Literal["probe", "mutual_knn", "cka"] = "probe"


class SyntheticToy(Section):
    """The poster's synthetic study: A = T1(Z) + w1 U, B = T2(Z) + w2 U; every pair of noise levels, every seed."""

    samples: Annotated[int, Field(ge=64)] = 1024
    width: Annotated[int, Field(ge=2)] = 32
    noise: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=2)] = (0.0, 0.25, 0.5, 0.75, 1.0)
    seeds: Positive = 3


class ToySpec(Section):
    """The poster's two toy studies: similarity against the CLIP loss after `iterations` steps.

    `compare` names the entry of `compare` whose data sets and views the real study takes.
    """

    compare: Name
    synthetic: SyntheticToy = SyntheticToy()
    iterations: Positive = 500
    batch_size: Annotated[int, Field(ge=2)] = 256
    width: Positive = 64
    lr: PositiveFloat = 1e-3
    seeds: Positive = 3
    device: str = "auto"
