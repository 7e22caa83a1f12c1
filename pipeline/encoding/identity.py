"""Which features a view of an encoder yields: the fingerprint, computed without loading any model."""

from importlib.metadata import PackageNotFoundError, version

from pipeline.config import AnyView, EncoderSpec
from pipeline.encoders.imported import IMPORTED
from pipeline.encoders.manifest import Manifest
from pipeline.errors import CheckpointError
from pipeline.features.fingerprint import ENCODING_VERSION, FORMAT_VERSION, Fingerprint, digest_of

_PACKAGES = {
    "open_clip": "open_clip_torch",
    "log-mel": "transformers",
    "statistics": "numpy",
}  # other loaders have the names of their packages


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
    compared |= view.compared(encoder)
    described = {
        "model": manifest.model,
        "source": manifest.source,
        "revision": manifest.resolved_revision,
        "architecture": manifest.architecture,
        "preprocessing": manifest.preprocessing,
        "torch": version("torch"),
    }
    if encoder.loader != IMPORTED:
        described[encoder.loader] = loader_version(encoder.loader)
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
