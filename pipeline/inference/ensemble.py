"""`Ensemble`: several aligners as one model, whose score is the mean of theirs."""

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from pipeline.alignment.ensembles import joined_vectors, require_same_data, score_shares
from pipeline.alignment.vectors import embed_images
from pipeline.arithmetic import own_arithmetic
from pipeline.config import Scores
from pipeline.errors import DataError
from pipeline.inference.arguments import several
from pipeline.inference.classify import Label, labelled
from pipeline.inference.encode import Encode
from pipeline.inference.inputs import ImageLike
from pipeline.inference.model import TEMPLATES, Aligner


class Ensemble(Encode):
    """Several aligners. Its unit vectors are theirs in a row, so that a cosine is the mean of their scores.

    Every backbone sees an input once, also where several members have it.

    Attributes:
        members: the aligners.
        scores: "cosine" or "logit", as under `ensembles` in params.yaml.
    """

    def __init__(self, members: Sequence[Aligner], scores: Scores = "cosine") -> None:
        """Join aligners.

        Raises:
            DataError: fewer than two, of different repeats, or unknown `scores`.
            ModelError: they were fitted to different data or splits.
        """
        if len(members) < 2:
            raise DataError(f"An ensemble has at least two aligners, found {len(members)}.")
        if scores not in ("cosine", "logit"):
            raise DataError(f"scores must be cosine or logit, found {scores!r}.")
        if len({one.repeat for one in members}) > 1:
            listed = ", ".join(f"{one.config.aligner} {one.repeat}" for one in members)
            raise DataError(
                f"Each repeat holds out other families; found the repeats {listed}. Load all members with one `repeat`."
            )
        configs = {f"{place}: {one.config.aligner}": one.config for place, one in enumerate(members, 1)}
        require_same_data(" + ".join(one.config.aligner for one in members), configs)
        self.members, self.scores = tuple(members), scores
        self._shares, self._scale = score_shares(scores, [one.logit_scale for one in members])
        self.prompts, self.default_prompt_name, self.truncate_dim = {}, None, None

    @classmethod
    def from_pretrained(cls, names: Sequence[str | Path], *, scores: Scores = "cosine", **options: Any) -> Self:
        """Load aligners and join them.

        Args:
            names: folders such as data/models/default, or names on the hub.
            scores: see the class.
            options: as of `Aligner.from_pretrained`, for every member.

        Raises:
            DataError, ModelError: as the constructor, and as `Aligner.from_pretrained`.
        """
        folders = several(names, "names", "aligners' folders")
        return cls([Aligner.from_pretrained(name, **options) for name in folders], scores)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.members[0].device

    @property
    def embed_dim(self) -> int:
        """Width of its vectors: the sum of its members' widths."""
        return sum(one.embed_dim for one in self.members)

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied by before a softmax: the mean of the members' scales."""
        return self._scale

    def on(self, device: str | torch.device) -> Self:
        """See `Encode`."""
        other = copy.copy(self)
        other.members = tuple(one.on(device) for one in self.members)
        return other

    def embed_pictures(
        self, images: Sequence[ImageLike], batch_size: int, urls: bool = False, places: Sequence[int] | None = None
    ) -> np.ndarray:
        """See `Encode`."""
        parts: dict[int, np.ndarray] = {}
        for group in self._of_one_encoder("image"):
            features = self.members[group[0]]._encoders.image_features(images, batch_size, urls=urls, places=places)
            batches = [[embed_images(self.members[place]._heads, batch) for place in group] for batch in features]
            parts |= {place: np.concatenate(of) for place, of in zip(group, zip(*batches, strict=True), strict=True)}
        return self._joined(parts[place] for place in range(len(self.members)))

    def embed_sentences(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """See `Encode`."""
        parts: dict[int, np.ndarray] = {}
        for group in self._of_one_encoder("text"):
            first = self.members[group[0]]
            features = first._encoders.text_features(texts, batch_size, first.config.text_tokens)
            parts |= {place: self.members[place]._heads.embed_text(features) for place in group}
        return self._joined(parts[place] for place in range(len(self.members)))

    @own_arithmetic()
    def classify(
        self,
        images: ImageLike | Sequence[ImageLike],
        names: Iterable[str],
        templates: Sequence[str] = TEMPLATES,
        *,
        top: int | None = None,
    ) -> list[Label] | list[list[Label]]:
        """Classes with probabilities, best first, as `Aligner.classify`.

        A probability is the softmax over `names` of the mean score times `logit_scale`; a class has one vector in each
        member.
        """
        return labelled(
            images,
            names,
            top,
            classes=lambda listed: self._joined(one._classifier(listed, templates) for one in self.members),
            embed=lambda pictures: self.embed_pictures(pictures, 32),
            logit_scale=self.logit_scale,
        )

    def __repr__(self) -> str:
        names = ", ".join(repr(one.config.aligner) for one in self.members)
        return f"Ensemble({names}, scores={self.scores!r}, embed_dim={self.embed_dim})"

    def _of_one_encoder(self, side: str) -> list[list[int]]:
        """Places of the members that take the same features of one side, together."""
        groups: dict[tuple[str, str], list[int]] = {}
        for place, one in enumerate(self.members):
            tokens = one.config.text_tokens if side == "text" else ""
            groups.setdefault((one.config.fingerprints[side]["digest"], tokens), []).append(place)
        return list(groups.values())

    def _joined(self, parts: Iterable[np.ndarray]) -> np.ndarray:
        return joined_vectors(list(parts), self._shares)

    def _move(self, device: str | torch.device) -> None:
        for one in self.members:
            one.to(device)
