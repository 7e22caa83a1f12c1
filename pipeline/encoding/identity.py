"""Which features a view of an encoder yields: the fingerprint, computed without loading any model."""

from importlib.metadata import PackageNotFoundError, version

from pipeline.config import AnyView, EncoderSpec, ImageView
from pipeline.encoders.manifest import Manifest
from pipeline.errors import CheckpointError
from pipeline.features.fingerprint import ENCODING_VERSION, FORMAT_VERSION, Fingerprint, digest_of

_PACKAGES = {"open_clip": "open_clip_torch"}  # other loaders have the names of their packages


def fingerprint_of(manifest: Manifest, encoder: EncoderSpec, view: AnyView) -> Fingerprint:
    """The fingerprint of the features that `view` keeps of `encoder`.

    Args:
        manifest: what the checkpoint stage recorded of the weights and their preprocessing.
    """
    compared: dict[str, object] = {
        "format_version": FORMAT_VERSION,
        "encoding_version": ENCODING_VERSION,
        "modality": encoder.modality,
        "weights": manifest.weights_sha256,
        "loader": encoder.loader,
        "pooling": encoder.pooling,
        "compute_dtype": encoder.dtype,
        "stored_dtype": view.dtype,
        "preprocessing": digest_of(manifest.preprocessing),
    }
    if encoder.autocast is not None:
        compared["autocast"] = encoder.autocast
    if isinstance(view, ImageView):
        compared |= {
            "layers": list(encoder.layers),
            "resolution": view.resolution,
            "tier": view.tier,
            "grid": view.grid if view.tier == "grid" else None,
        }
        if view.crops:  # absent otherwise, so that stores without them keep the fingerprint they had
            compared |= {"crops": view.crops, "crop_scale": list(view.crop_scale)}
        if view.fit != "model":  # absent otherwise, so that stores keep the fingerprint they had
            compared["fit"] = view.fit
    else:
        compared |= {"prefix": encoder.prefix, "max_tokens": view.max_tokens}
        if encoder.prompt is not None:  # absent otherwise, as autocast
            compared["prompt"] = encoder.prompt
        if view.tier == "full":  # absent otherwise, as truncations
            compared["tokens"] = "last hidden state"
        if view.truncations:  # absent otherwise, so that stores without them keep the fingerprint they had
            compared["truncations"] = list(view.truncations)
        if view.chunk_tokens:
            compared["chunk_tokens"] = view.chunk_tokens
        if view.templates:
            compared["templates"] = list(view.templates)
    described = {
        "model": manifest.model,
        "source": manifest.source,
        "revision": manifest.resolved_revision,
        "architecture": manifest.architecture,
        "preprocessing": manifest.preprocessing,
        "torch": version("torch"),
        encoder.loader: loader_version(encoder.loader),
    }
    return Fingerprint(compared, described)


def loader_version(loader: str) -> str:
    """The version of a loader's package.

    Raises:
        CheckpointError: it is not installed; the message has the pip command.
    """
    package = _PACKAGES.get(loader, loader)
    try:
        return version(package)
    except PackageNotFoundError:
        raise CheckpointError(f"loader {loader} needs a package that is not installed: pip install {package}") from None
