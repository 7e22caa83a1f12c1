"""The spaces that are compared: every kept layer of every image view, pooled in two ways, and every text view."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.config import CompareSpec
from pipeline.errors import DataError
from pipeline.features import FeatureStore
from pipeline.features.views import open_view
from pipeline.similarity.samples import Captioned, keep_servable, read_captioned

POOLINGS = ("cls", "mean")


@dataclass(frozen=True)
class ImageSpace:
    """One layer of an image view, pooled in one way; `layer` as params.yaml names it. Features (N, D) float32."""

    view: str
    layer: int
    pooling: str
    features: np.ndarray

    @property
    def name(self) -> str:
        """Its name in tables, e.g. `vit[11].cls`."""
        return f"{self.view}[{self.layer}].{self.pooling}"


@dataclass(frozen=True)
class TextSpace:
    """One text view; features (N, D) float32, the mean over the captions of each image."""

    view: str
    features: np.ndarray

    @property
    def name(self) -> str:
        """Its name in tables."""
        return self.view


@dataclass(frozen=True)
class Candidates:
    """Samples, and the spaces they lie in, row by row."""

    samples: Captioned
    images: tuple[ImageSpace, ...]
    texts: tuple[TextSpace, ...]
    digests: Mapping[str, str] = field(default_factory=dict)  # of the fingerprint of each view


def read_candidates(params: CompareSpec, repeats: int, poolings: Sequence[str] = POOLINGS) -> Candidates:
    """Read every candidate space; there are none without samples.

    Raises:
        DataError: tables and stores are not of one run.
        StoreError: a store is missing or damaged.
        FingerprintMismatch: the stores of a view were written by different encoders or settings.
    """
    samples = read_captioned(params.datasets, repeats)
    present = [dataset for dataset in params.datasets if (samples.dataset == dataset).any()]
    if not present:
        return Candidates(samples, (), ())
    images = {view: open_view(view, present) for view in params.images}
    texts = {view: open_view(view, present) for view in params.texts}
    samples = keep_servable(samples, list(images.values()), list(texts.values()))
    return Candidates(
        samples,
        tuple(space for view, stores in images.items() for space in _image_spaces(view, stores, samples, poolings)),
        tuple(TextSpace(view, _mean_captions(stores, samples)) for view, stores in texts.items()),
        {view: next(iter(stores.values())).digest for view, stores in (images | texts).items()},
    )


def _image_spaces(
    view: str, stores: Mapping[str, FeatureStore], samples: Captioned, poolings: Sequence[str]
) -> list[ImageSpace]:
    """Layers and poolings of one view; the mean is left out if missing, or if the CLS token up to rounding."""
    layers = next(iter(stores.values())).fingerprint["compared"].get("layers", [-1])
    poolings = [pooling for pooling in poolings if all(pooling in store.names for store in stores.values())]
    by_pooling = {pooling: _gather(stores, samples, pooling) for pooling in poolings}
    spaces = []
    for position, layer in enumerate(layers):
        vectors = [array[:, position] if array.ndim == 3 else array for array in by_pooling.values()]
        for pooling, features in zip(by_pooling, vectors, strict=True):
            if pooling == poolings[0] or not np.allclose(features, vectors[0], rtol=2e-3, atol=1e-4):
                spaces.append(ImageSpace(view, int(layer), pooling, features))
    return spaces


def _gather(stores: Mapping[str, FeatureStore], samples: Captioned, array: str) -> np.ndarray:
    """Rows of an array in the order of the samples, (N, ...) float32."""
    parts = {name: np.flatnonzero(samples.dataset == name) for name in stores}
    shapes = {stores[name].shape(array)[1:] for name in stores}
    if len(shapes) > 1:
        raise DataError(f"Data sets hold {array!r} in different shapes {sorted(shapes)}. Encode them again: dvc repro")
    out = np.empty((len(samples), *shapes.pop()), dtype=np.float32)
    for name, rows in parts.items():
        out[rows] = stores[name].read(array, samples.image_id[rows])
    return out


def _mean_captions(stores: Mapping[str, FeatureStore], samples: Captioned) -> np.ndarray:
    """The mean embedding of each image's captions, (N, D) float32."""
    out = np.empty((len(samples), next(iter(stores.values())).shape("pooled")[1]), dtype=np.float32)
    for name, store in stores.items():
        rows = np.flatnonzero(samples.dataset == name)
        owner = np.repeat(np.arange(len(rows)), [len(samples.captions[row]) for row in rows])
        vectors = store.read("pooled", [text for row in rows for text in samples.captions[row]]).astype(np.float32)
        sums = np.zeros((len(rows), out.shape[1]), dtype=np.float64)
        np.add.at(sums, owner, vectors)
        out[rows] = sums / np.bincount(owner, minlength=len(rows))[:, None]
    return out
