"""Curations by concepts: what is dropped, what is searched for and in which space, and who takes what."""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline.config.base import Fraction, Language, Name, Names, Once, Positive, Samples, Section
from pipeline.config.selection import ClassificationSet
from pipeline.config.stores import RayParams

NO_ALIGNER: Final = "none"
Cosine = Annotated[float, Field(gt=-1, le=1)]
Texts = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...], Field(min_length=1), Once]


def _in_folder(name: str) -> str:
    if "/" in name or "\\" in name or name.startswith("."):
        raise ValueError(f"{name!r} should be the name of a file in the folder concepts, without a path")
    return name


class ConceptList(Section):
    """Where concepts come from; exactly one of the three.

    `labels` are the values of a label of a data set, several sets being joined by name; `file` has a name a line, in
    the folder `concepts` of the project; `keywords` are written here.
    """

    labels: ClassificationSet | None = None
    file: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_in_folder)] | None = None
    keywords: Texts | None = None

    @model_validator(mode="after")
    def _one(self) -> "ConceptList":
        if (written := sum(value is not None for value in (self.labels, self.file, self.keywords))) != 1:
            raise ValueError(f"exactly one of `labels`, `file` and `keywords` says where concepts are; found {written}")
        return self


class Hygiene(Section):
    """What is dropped before anything is chosen; what is left out, or null, drops nothing.

    `near` and `semantic` are cosines of image features, `hash_bits` of 64 bits of a perceptual hash, `decontaminate`
    names data sets whose test pictures stay out with all that are nearly one, of a data set outside the pool all
    pictures; with `same_caption` also what has the words of one of their captions; `floor` is a cosine of picture and
    caption, `worst` the share of pictures whose cosine is least.
    """

    exact: bool = True
    near: Cosine | None = None
    hash_bits: Annotated[int, Field(ge=0, le=16)] | None = None
    semantic: Cosine | None = None
    semantic_clusters: Positive = 32
    decontaminate: Annotated[tuple[Name, ...], Once] = ()
    same_caption: bool = False
    floor: Cosine | None = None
    worst: Fraction | None = None
    words: tuple[Positive, Positive] | None = None
    language: Language | None = None
    repeated: Positive | None = None

    @model_validator(mode="after")
    def _order(self) -> "Hygiene":
        if self.words is not None and self.words[0] > self.words[1]:
            raise ValueError(f"words goes from {self.words[0]} down to {self.words[1]}; write the smaller number first")
        if self.decontaminate and self.near is None and self.hash_bits is None and not self.same_caption:
            raise ValueError(
                "`decontaminate` finds near copies by `near` or by `hash_bits`, and captions by `same_caption`; set one"
            )
        if not self.decontaminate:
            self.refuse(["same_caption"], "`decontaminate` names no data set")
        if self.semantic is None:
            self.refuse(["semantic_clusters"], "`semantic` is not set")
        return self


class Mixture(Section):
    """Weights of two parts of a curation: `concepts` by its balance, `drawn` at random of what is left."""

    concepts: Annotated[float, Field(ge=0, le=1e6)]
    drawn: Annotated[float, Field(ge=0, le=1e6)]

    @model_validator(mode="after")
    def _some(self) -> "Mixture":
        if self.concepts + self.drawn <= 0:
            raise ValueError("both weights are 0; one of them has to be more")
        return self


class ConceptCuration(Section):
    """`images` train images of the data sets in `pool`, per repeat, chosen by concepts.

    `view` is of images, `captions` of texts. `aligner` names the one in whose space images and texts are compared, or
    is `none`. `prototypes` says what stands for a concept, the mean of `shots` of its images, its class texts, or both;
    `against` what of the pool is compared with it. `balance` is by `concepts` (each up to `quota`), by `density` of
    clusters, by `clusters` of clusters in `levels`, or `none`: drawn by the seed. `cap` is MetaCLIP's t. Concepts in
    `hold_out` stay out with all pictures and captions that have them. `engine` is where retrieval runs, as for
    `encode`; it ends in the same bytes, so it is not written into the settings that DVC compares.
    """

    pool: Names
    view: Name
    aligner: Name
    images: Samples
    captions: Name | None = None
    preset: Literal["classification", "retrieval"] | None = None
    concepts: Annotated[tuple[ConceptList, ...], Once] = ()
    prototypes: Literal["images", "texts", "both"] = "images"
    against: Literal["images", "captions"] = "images"
    shots: Positive = 16
    candidates: Samples | None = None
    quota: Samples | None = None
    retrieval: Literal["exact", "index"] = "exact"
    assignment: Literal["rare-first", "best"] = "rare-first"
    balance: Literal["concepts", "density", "clusters", "none"] = "concepts"
    levels: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64, 8)
    cap: Samples | None = None
    hold_out: Annotated[tuple[str, ...], Once] = ()
    mixture: Mixture | None = None
    hygiene: Hygiene = Hygiene()
    engine: Annotated[Literal["local", "ray"], Field(exclude=True)] = "local"
    ray: Annotated[RayParams, Field(exclude=True)] = RayParams()

    @model_validator(mode="after")
    def _fits(self) -> "ConceptCuration":
        by_concepts = self.balance == "concepts"
        if by_concepts and not self.concepts:
            raise ValueError("`balance: concepts` needs `concepts`, a list of where they come from")
        if not by_concepts:
            keys = ("prototypes", "against", "shots", "candidates", "quota", "retrieval", "assignment", "mixture")
            self.refuse(keys, f"`balance` is {self.balance}")
        if not by_concepts and self.cap is None:
            self.refuse(["concepts"], f"`balance` is {self.balance} and there is no `cap`")
        if self.engine != "ray":
            self.refuse(["ray"], "it is about `engine: ray`")
        if self.balance not in ("density", "clusters"):
            self.refuse(["levels"], f"`balance` is {self.balance}")
        if self.cap is not None and not self.concepts:
            raise ValueError("`cap` limits how often concepts are named; list them under `concepts`")
        if (needs := self.needs_captions) and self.captions is None:
            raise ValueError(f"`captions` should name a view of texts: {needs}")
        if self.prototypes == "both" and by_concepts and not self.shared:
            raise ValueError("`prototypes: both` adds images and texts, which share a space only through an `aligner`")
        return self

    @property
    def shared(self) -> bool:
        """Whether pictures and texts are seen through an aligner."""
        return self.aligner != NO_ALIGNER

    @property
    def needs_captions(self) -> str:
        """Why captions are needed, or an empty string."""
        reasons = {
            "`against` is captions": self.balance == "concepts" and self.against == "captions",
            "`prototypes` are of class texts": self.balance == "concepts" and self.prototypes != "images",
            "`hygiene` compares pictures with them": self.needs_similarity,
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    @property
    def needs_similarity(self) -> bool:
        """Whether each picture is compared with its caption."""
        return self.hygiene.floor is not None or self.hygiene.worst is not None

    @property
    def needs_shared_space(self) -> str:
        """Why pictures and texts have to be in one space, or an empty string."""
        if self.needs_similarity:
            return "`hygiene` compares pictures with their captions"
        if self.balance == "concepts" and (self.prototypes == "both" or (self.prototypes, self.against) in _CROSSED):
            return f"prototypes of {self.prototypes} are compared with {self.against}"
        return ""


_CROSSED = {("images", "captions"), ("texts", "images")}
PRESETS: Final[dict[str, dict[str, Any]]] = {
    # concepts buy classification, clean captions buy retrieval: the paper's own table of data
    "classification": {"balance": "concepts", "hygiene": {"near": 0.98, "repeated": 20}},
    "retrieval": {"balance": "none", "hygiene": {"near": 0.98, "repeated": 3, "words": [1, 60]}},
}
