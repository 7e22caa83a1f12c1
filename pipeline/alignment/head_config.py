"""What is recorded of a trained aligner: config.json, one format for every kind of head."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import AUTO
from pipeline.errors import ModelError
from pipeline.features.fused import member_fingerprints
from pipeline.files import write_json
from pipeline.plain import read_regular

FORMAT = 4
CONFIG_FILE = "config.json"
SPACE_FOLDER = "space"  # holds the aligner that one was added to
_MOST = 1 << 26  # bytes of config.json
_WIDEST = 1 << 20  # features of a vector; memory for a head is taken by its widths
_SEQUENCES = ("data", "seeds", "best_epochs", "kinds")
_LATER = ("kinds", "space")  # absent where they have their default, so that earlier files keep their bytes

VIEWS_CHOICE = "views"  # no form has this name where a comparison chooses the views
HEAD_CHOICE = "head"  # nor this one where the number of pairs chooses the head


@dataclass(frozen=True)
class HeadConfig:
    """All that is needed to use the heads of an aligner, and how they came about.

    The sides "image" and "text" are places, the first view and the second one. What stands there is `modality`: audio
    may take either.

    Attributes:
        head: the head's entry of params.yaml with its defaults, as `head_entry` gives it.
        views, widths: by side, the view whose features the heads take, and their width.
        fingerprints: by side, the fingerprint of the feature stores, as `Fingerprint.as_dict` gives it: what the heads
            take, and enough to load the encoders again. Features with another digest do not fit.
        data: data sets that it was fitted to.
        seeds, best_epochs: one per repeat; empty where nothing is drawn, or nothing is trained.
        parameters: trained scalars of one head, the temperature included; of one in closed form the fitted ones.
        kept: scalars of training rows that one in closed form keeps, and of what was drawn for it; null where an
            earlier version wrote it, which counted them among `parameters`.
        choices: what the head's entry left open and fitting decided, by form; under "views" the comparison that chose
            the views, if one did, and under "head" which one head `auto` took, by how many pairs.
        fusions: by side, the entry of its view in params.yaml where that is a fused one.
        kinds: of the sounds that it was fitted to; none for all.
        space: the aligner whose vectors of the second side stand still, so that these heads have a map of the first
            side alone; "" where both sides were fitted.
    """

    aligner: str
    head: dict[str, Any]
    views: dict[str, str]
    widths: dict[str, int]
    embed_dim: int
    fingerprints: dict[str, dict[str, Any]]
    data: tuple[str, ...]
    repeats: int
    seeds: tuple[int, ...] = ()
    best_epochs: tuple[int, ...] = ()
    parameters: int = 0
    kept: int | None = None
    choices: dict[str, dict[str, Any]] = field(default_factory=dict)
    fusions: dict[str, dict[str, Any]] = field(default_factory=dict)
    format: int = FORMAT
    kinds: tuple[str, ...] = ()
    space: str = ""

    @property
    def entry(self) -> dict[str, Any]:
        """The head's entry; of `auto` that of the one it took."""
        took: dict[str, Any] = self.head if self.head["kind"] != AUTO else self.head[self.choices[HEAD_CHOICE]["took"]]
        return took

    @property
    def kind(self) -> str:
        """The kind of the head; of `auto` that of the one it took."""
        return str(self.entry["kind"])

    @property
    def local_tokens(self) -> str:
        """The local tokens that the heads read; "none" for head identity."""
        return str(self.entry.get("local_tokens", "none"))

    @property
    def text_tokens(self) -> str:
        """What the heads read of texts: "pooled" or "full"."""
        return str(self.entry.get("text_tokens", "pooled"))

    @property
    def layers(self) -> int:
        """How many of the last kept layers of the image view are joined."""
        return int(self.entry.get("layers", 1))

    def members(self, side: str) -> dict[str, dict[str, Any]]:
        """The stored views of one side with their fingerprints, in order: several where it is fused."""
        return member_fingerprints(self.fingerprints[side], self.views[side])

    def modality(self, side: str) -> str:
        """What stands on a side, by the fingerprint of its view; what the side is called where none says it."""
        first = next(iter(self.members(side).values()))
        return str(first.get("compared", {}).get("modality", side))

    @property
    def modalities(self) -> dict[str, str]:
        """The side of each modality that the heads take."""
        return {self.modality(side): side for side in self.views}

    @property
    def encoders(self) -> tuple[tuple[str, dict[str, Any]], ...]:
        """Side and fingerprint of every view that the heads take features of."""
        return tuple((side, one) for side in self.views for one in self.members(side).values())

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text its encoder reads, of several the least; None where no record says it."""
        texts = self.members("text").values()
        recorded = [((one["described"].get("preprocessing") or {}).get("max_tokens")) for one in texts]
        limits = [one["compared"].get("max_tokens") for one in texts]
        return min((int(length) for length in (*recorded, *limits) if length), default=None)

    def write(self, folder: Path) -> None:
        """Write config.json into `folder`."""
        written = {name: value for name, value in asdict(self).items() if value or name not in _LATER}
        write_json(written, folder / CONFIG_FILE)

    @classmethod
    def read(cls, folder: Path) -> "HeadConfig":
        """Read config.json of `folder`.

        Raises:
            ModelError: it is missing, of another format or lacks a field.
        """
        path = folder / CONFIG_FILE
        try:
            raw: dict[str, Any] = json.loads(read_regular(path, _MOST))
            if raw["format"] != FORMAT:
                raise ModelError(
                    f"{path} has format {raw['format']}; this version reads format {FORMAT}. Fit it again: dvc repro"
                )
            sequences = {name: tuple(raw.get(name, ()) if name in _LATER else raw[name]) for name in _SEQUENCES}
            config = cls(**{**raw, **sequences})
            _ = config.kind, *(one["digest"] for _, one in config.encoders)
            for side in config.views:
                joined = config.fusions[side]["concat"] if side in config.fusions else [config.views[side]]
                if list(config.members(side)) != list(joined):
                    raise ValueError(f"fusions: {side} does not fit its fingerprints")
            _require_widths(config.widths | {"embed_dim": config.embed_dim})
        except FileNotFoundError as error:
            raise ModelError(f"No fitted aligner at {folder}. Fit it with: dvc repro") from error
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(
                f"{path} does not describe an aligner of this project ({type(error).__name__}: {error}). "
                "Fit it again with: dvc repro"
            ) from error
        return config


def _require_widths(widths: dict[str, Any]) -> None:
    for name, width in widths.items():
        if not isinstance(width, int) or isinstance(width, bool) or not 0 < width <= _WIDEST:
            raise ValueError(f"widths: {name} is {width!r}, expected a whole number from 1 to {_WIDEST}")
