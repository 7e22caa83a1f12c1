"""A trained aligner on disk: `config.json` and one safetensors file of heads per repeat. Nothing is pickled."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.empty import empty_head
from pipeline.alignment.head_config import CONFIG_FILE, HEAD_CHOICE, SPACE_FOLDER, VIEWS_CHOICE, HeadConfig
from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.identity import Identity
from pipeline.alignment.sealed_weights import DamagedWeights, load_weights, save_weights
from pipeline.config import RECORDED, AnyHead, FitSpec
from pipeline.errors import ModelError
from pipeline.features.ragged import LENGTH, padded

__all__ = [
    "CONFIG_FILE", "HEAD_CHOICE", "VIEWS_CHOICE", "HeadConfig", "ProjectionHeads", "again_from", "head_entry",
    "heads_path", "save_heads",
]  # fmt: skip
HEADS_FILE = "heads.safetensors"
_CHUNK_ROWS = 4096


def head_entry(head: AnyHead) -> dict[str, Any]:
    """The entry of a head as plain data for JSON, less how it is optimised: what decides its form."""
    return head.model_dump(mode="json", exclude={"train": True, "computed": {"train"}, "trained": {"train"}})


def heads_path(folder: Path, repeat: int) -> Path:
    """The weights of one repeat inside the folder of an aligner."""
    return folder / f"repeat_{repeat}" / HEADS_FILE


def save_heads(head: Head, folder: Path, repeat: int) -> None:
    """Write the weights of one repeat."""
    path = heads_path(folder, repeat)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: value.cpu().clone() for name, value in head.state_dict().items()}
    save_weights(weights, path)  # clones, since members of an ensemble may share maps


class ProjectionHeads:
    """Heads of one repeat, trained or "identity": frozen features in, unit vectors of the shared space out.

    Attributes:
        config: the `HeadConfig` they were saved with.
        space: the heads of the space that they were added to, which make the vectors of its own modalities; None where
            they have a space of their own.
    """

    def __init__(
        self, config: HeadConfig, head: Head, device: torch.device, space: "ProjectionHeads | None" = None
    ) -> None:
        self.config, self.space = config, space
        self._head = head.to(device).eval()
        self._device = device

    @classmethod
    def from_folder(cls, folder: Path, repeat: int = 0, device: torch.device | str = "cpu") -> "ProjectionHeads":
        """Load the heads of one repeat from the folder of an aligner.

        Raises:
            ModelError: config or weights are missing, damaged or do not fit each other.
        """
        config = HeadConfig.read(folder)
        if config.kind == "identity":
            return cls(config, Identity(_own_scale(config)), torch.device(device))
        head = _head_of(config, folder)
        path = heads_path(folder, repeat)
        try:
            head.load_state_dict(load_weights(path)[0])
        except FileNotFoundError as error:
            raise ModelError(
                f"{folder} holds {config.repeats} repeats; there are no heads at {path}. Train it with: dvc repro"
            ) from error
        except DamagedWeights as error:
            raise ModelError(f"{error}. {again_from(folder)}") from error
        except RuntimeError as error:
            raise ModelError(
                f"{path} does not fit {folder / CONFIG_FILE}: {error}. Train it again: dvc repro"
            ) from error
        return cls(config, head, torch.device(device), cls._space_of(config, folder, repeat, device))

    @classmethod
    def _space_of(
        cls, config: HeadConfig, folder: Path, repeat: int, device: torch.device | str
    ) -> "ProjectionHeads | None":
        """The heads of the space that an aligner was added to; None where it has one of its own."""
        if not config.space:
            return None
        standing = HeadConfig.read(folder / SPACE_FOLDER)
        if standing.space or standing.embed_dim != config.embed_dim:
            found = "was added to a space itself" if standing.space else f"has {standing.embed_dim} dimensions"
            raise ModelError(
                f"{folder / SPACE_FOLDER} is not the space of aligner {config.aligner!r}, which has {config.embed_dim} "
                f"dimensions and stands by itself: it {found}. {again_from(folder)}"
            )
        return cls.from_folder(folder / SPACE_FOLDER, repeat, device)

    @property
    def head(self) -> Head:
        """The network of both sides, in evaluation mode."""
        return self._head

    @property
    def device(self) -> torch.device:
        """Where they compute."""
        return self._device

    def on(self, device: torch.device | str) -> "ProjectionHeads":
        """A copy of these heads on another device."""
        space = None if self.space is None else self.space.on(device)
        return ProjectionHeads(self.config, copy.deepcopy(self._head), torch.device(device), space)

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied by before the softmax; learned, one over the temperature.

        Of head "identity" it is the dual encoder's own.
        """
        return self._head.scale().item()

    @torch.no_grad()
    def embed_image(self, cls: np.ndarray, local: np.ndarray) -> np.ndarray:
        """Unit vectors (N, K) float32 of images.

        Args:
            cls: (N, D) features of the image view, any float dtype.
            local: (N, T, D) local tokens of the kind in `config.local_tokens`; T is 0 for "none".

        Raises:
            ValueError: the shapes do not fit the heads.
        """
        self._check("image", cls, 2, self.config.widths["image"])
        self._check("local", local, 3, self.config.widths["image"])
        images = ImageInput(torch.from_numpy(cls), torch.from_numpy(local))
        parts = [
            self._head.image_features(images.take(rows).to(self._device)).cpu()
            for rows in torch.split(torch.arange(len(images)), _CHUNK_ROWS)
        ]
        return torch.cat(parts).numpy()

    @torch.no_grad()
    def embed_patches(self, patch: np.ndarray, unit: bool = True) -> np.ndarray:
        """Unit vectors (N, P, K) float32 of single patches, through the projector of local tokens alone.

        It is how Freeze-Align segments: the CLS token, the same for every patch, stays out.

        Args:
            patch: (N, P, D) patch tokens of the image encoder, any float dtype.
            unit: whether they are brought to unit length; if not, they are left as the projector gives them.

        Raises:
            ValueError: the shape does not fit the heads.
        """
        self._check("patch", patch, 3, self.config.widths["image"])
        rows = max(1, _CHUNK_ROWS // max(1, patch.shape[1]))
        parts = [
            self._head.patch_features(torch.from_numpy(patch[start : start + rows]).to(self._device), unit).cpu()
            for start in range(0, len(patch), rows)
        ]
        return torch.cat([torch.empty(0, patch.shape[1], self.config.embed_dim), *parts]).numpy()

    @torch.no_grad()
    def embed_text(self, texts: np.ndarray | TextInput) -> np.ndarray:
        """Unit vectors (N, K) float32 of texts.

        Args:
            texts: (N, D) sentence embeddings of the text view, any float dtype; tokens (N, T, D) where the heads were
                trained on tokens (`config.text_tokens` is "full").

        Raises:
            ValueError: the shape does not fit the heads, or they were trained on the other of the two.
        """
        if self.space is not None:
            return self.space.embed_text(texts)
        kind = "full" if isinstance(texts, TextInput) and texts.mask is not None else "pooled"
        if kind != self.config.text_tokens:
            raise ValueError(
                f"Aligner {self.config.aligner!r} was trained with text_tokens: {self.config.text_tokens}; these "
                f"features are {kind}"
            )
        if not isinstance(texts, TextInput):
            self._check("text", texts, 2, self.config.widths["text"])
            texts = TextInput.from_pooled(torch.from_numpy(texts))
        self._check("text", texts.tokens, 3, self.config.widths["text"])
        parts = [
            self._head.text_features(texts.take(rows).to(self._device)).cpu()
            for rows in torch.split(torch.arange(len(texts)), _CHUNK_ROWS)
        ]
        return torch.cat(parts).numpy()

    def embed_second(self, features: Mapping[str, np.ndarray]) -> np.ndarray:
        """Unit vectors (N, K) float32 of what stands on the side of texts and is none, such as sounds.

        Args:
            features: arrays as a store of that view serves them; of several kept layers of `cls` the last one counts.

        Raises:
            ValueError: as `embed_text`.
        """
        if self.config.text_tokens == "full":
            lengths = features["tokens" + LENGTH]
            return self.embed_text(
                TextInput.from_arrays(padded(features["tokens"], lengths, int(lengths.max(initial=1))))
            )
        cls = features["cls"]
        return self.embed_text(cls if cls.ndim == 2 else np.ascontiguousarray(cls[:, -1]))

    def _check(self, what: str, array: np.ndarray | Tensor, rank: int, width: int) -> None:
        if array.ndim != rank or array.shape[-1] != width:
            raise ValueError(
                f"{what} features of shape {tuple(array.shape)} do not fit aligner {self.config.aligner!r}: it takes "
                f"{rank} axes, the last of width {width}"
            )


def _head_of(config: HeadConfig, folder: Path) -> Head:
    """A head of the recorded form, without its weights."""
    recorded = {"datasets": config.data, "data": "recorded", "head": config.entry, **config.views}
    recorded["fusions"] = config.fusions
    try:
        fit = FitSpec.model_validate_json(json.dumps(recorded), context=RECORDED)
    except ValidationError as error:
        raise ModelError(
            f"{folder / CONFIG_FILE} records a head that this version does not know "
            f"({error.errors(include_url=False)[0]['msg']}). Fit it again with: dvc repro"
        ) from error
    widths = config.widths["image"], config.widths["text"]
    return empty_head(fit.head, *widths, config.embed_dim, config.choices, fit.fusions, bool(config.space))


def again_from(folder: Path) -> str:
    """For a message: what to do about a damaged head. A plain `dvc repro` goes by times, and sees no damage."""
    return f"In its project, make it again with: python -m pipeline.store repair {folder}; elsewhere, fetch it again."


def _own_scale(config: HeadConfig) -> float:
    """The logarithm of the scale that the dual encoder behind a view learned; 0 where neither has one."""
    for _, fingerprint in config.encoders:
        described = fingerprint.get("described", {})
        scale = (described.get("preprocessing") or {}).get("logit_scale")
        if scale is not None:
            return float(scale)
    return 0.0
