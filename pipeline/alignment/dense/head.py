"""A dense head: one linear map from patch tokens into the space of frozen sentence embeddings. Nothing is pickled.

Shapes: n regions, D the width of the image encoder, T that of the text encoder.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.alignment.closed_form.linear import solve_lifted
from pipeline.alignment.closed_form.usable import require_spread
from pipeline.alignment.saved import HeadConfig, again_from
from pipeline.alignment.sealed_weights import DamagedWeights, load_weights, save_weights
from pipeline.errors import ModelError
from pipeline.features.fingerprint import require_same_encoder
from pipeline.files import write_json
from pipeline.paths import DENSE_HEADS
from pipeline.plain import read_regular

FORMAT = 1
OTHER_IMAGES = ("resolution", "fit", "tier", "grid")  # in which a dense view may differ from that of training
CONFIG_FILE = "config.json"
_CHUNK_VALUES = 1 << 24
_MOST = 1 << 26  # bytes of config.json


@dataclass(frozen=True)
class DenseHead:
    """Ridge regression from the mean patch token of a region to its text; linear, so it holds for single patches too.

    Attributes:
        image_mean: (D,) float32, of the regions it was fitted to.
        text_mean: (T,) float32, of their texts, which is subtracted from class vectors as well: what all texts share
            does not tell classes apart.
        weight: (D, T) float32.
        scale: what cosines are multiplied by before a softmax over classes.
        fingerprints: of the stores it was fitted to, "image" and "text", as `Fingerprint.as_dict` gives them.
    """

    image_mean: np.ndarray
    text_mean: np.ndarray
    weight: np.ndarray
    scale: float
    fingerprints: dict[str, dict[str, Any]]

    @classmethod
    def fit(
        cls, regions: np.ndarray, texts: np.ndarray, regularisation: float, fingerprints: dict[str, dict[str, Any]]
    ) -> "DenseHead":
        """Least squares with `regularisation` times the mean variance of a feature added to the diagonal.

        Args:
            regions: (n, D) mean patch tokens.
            texts: (n, T) unit vectors, the text of each region.

        Raises:
            DataError: regions or texts are not finite, or are all the same.
        """
        for values, what in ((regions, "mean patch tokens of regions"), (texts, "texts of regions")):
            rows = torch.from_numpy(values)
            require_spread(rows.double().mean(0), rows.double().var(0, correction=0), what)
        image_mean, text_mean = (values.mean(axis=0, dtype=np.float64) for values in (regions, texts))
        centred = regions.astype(np.float64) - image_mean
        gram, cross = centred.T @ centred, centred.T @ (texts.astype(np.float64) - text_mean)
        lift = regularisation * np.trace(gram) / len(gram)
        weight = solve_lifted(torch.from_numpy(gram), torch.from_numpy(cross), lift).numpy()
        means = image_mean.astype(np.float32), text_mean.astype(np.float32)
        return cls(*means, weight.astype(np.float32), SCALE, fingerprints)

    def embed_patches(self, patch: np.ndarray, unit: bool = True) -> np.ndarray:
        """Vectors (..., T) float32 of patch tokens (..., D) of any float dtype, of unit length unless `unit` is false.

        Raises:
            ValueError: the width does not fit.
        """
        if patch.shape[-1] != len(self.image_mean):
            raise ValueError(f"patch features are {patch.shape[-1]} wide; the dense head takes {len(self.image_mean)}")
        flat = patch.reshape(-1, patch.shape[-1])
        out = np.empty((len(flat), self.weight.shape[1]), dtype=np.float32)
        step = max(1, _CHUNK_VALUES // flat.shape[1])
        for start in range(0, len(flat), step):
            out[start : start + step] = (flat[start : start + step].astype(np.float32) - self.image_mean) @ self.weight
        return (_unit(out) if unit else out).reshape(*patch.shape[:-1], -1)

    def embed_text(self, texts: np.ndarray) -> np.ndarray:
        """Unit vectors (n, T) float32 of sentence embeddings (n, T), the mean text taken away."""
        return _unit(_unit(texts.astype(np.float32)) - self.text_mean)

    def require_encoders_of(self, config: HeadConfig, what: str) -> None:
        """Check that the head was fitted to features of the encoders of an aligner.

        Args:
            config: of the aligner.
            what: is to be used, for the message.

        Raises:
            FingerprintMismatch: it was not; lists the fields that differ.
        """
        images, texts = config.fingerprints["image"], config.fingerprints["text"]
        require_same_encoder(self.fingerprints["image"], images, what, OTHER_IMAGES)
        require_same_encoder(self.fingerprints["text"], texts, what, ("tokens",))

    def save(self, folder: Path, repeat: int) -> None:
        """Write the weights of one repeat, and config.json."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"image_mean": self.image_mean, "text_mean": self.text_mean, "weight": self.weight}
        save_weights({name: torch.from_numpy(value) for name, value in arrays.items()}, _path(folder, repeat))
        config = {"format": FORMAT, "scale": self.scale, "fingerprints": self.fingerprints}
        write_json(config, folder / CONFIG_FILE)

    @classmethod
    def from_folder(cls, name: str, repeat: int, root: Path = DENSE_HEADS) -> "DenseHead":
        """Load the dense head `name` of one repeat.

        Raises:
            ModelError: it is missing or damaged, or was made by another version.
        """
        folder = root / name
        again = f"Fit it again with: dvc repro dense@{name}"
        try:
            config = json.loads(read_regular(folder / CONFIG_FILE, _MOST))
            if config["format"] != FORMAT:
                raise ModelError(f"{folder} has format {config['format']}; this version reads format {FORMAT}. {again}")
            arrays = {key: value.numpy() for key, value in load_weights(_path(folder, repeat))[0].items()}
            return cls(**arrays, scale=config["scale"], fingerprints=config["fingerprints"])
        except FileNotFoundError as error:
            raise ModelError(f"No dense head at {folder} for repeat {repeat}. {again}") from error
        except DamagedWeights as error:
            raise ModelError(f"{error}. {again_from(folder)}") from error
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelError(f"{folder} is not a dense head ({type(error).__name__}: {error}). {again}") from error


SCALE = 1 / 0.07  # CLIP's initial temperature: nothing is learned here


def unit_rows(values: np.ndarray) -> np.ndarray:
    """Rows of any array brought to unit length; rows of zeros stay."""
    return _unit(values.astype(np.float32))


def _unit(values: np.ndarray) -> np.ndarray:
    unit: np.ndarray = values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)
    return unit


def _path(folder: Path, repeat: int) -> Path:
    return folder / f"repeat_{repeat}.safetensors"
