"""Loads a backbone; no other module of this package does."""

import heapq
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.config import AnyView, EncodeParams, EncoderSpec, FurtherView, ImageView, TextView
from pipeline.device import choose_device
from pipeline.encoders.image import load_image_encoder
from pipeline.encoders.manifest import read_manifest
from pipeline.encoders.precision import compile_blocks
from pipeline.encoders.text import load_text_encoder
from pipeline.encoding.batch_size import find_batch_size
from pipeline.encoding.further import rows_of
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.preparing import IndexedImages
from pipeline.encoding.protocol import RowEncoder
from pipeline.encoding.rows import ImageRows, TextRows
from pipeline.encoding.texts import all_texts

_MANY_IMAGES = 2000  # that take longer to decode in threads than processes take to start
_TRIAL_TEXTS = 64  # the longest texts, on which batch sizes are tried


def image_rows(checkpoint: Path, encoder: EncoderSpec, view: ImageView, index: Path, params: EncodeParams) -> ImageRows:
    """A row encoder for the images of `index`.

    Raises:
        CheckpointError: the checkpoint cannot be loaded or lacks what the view asks for.
    """
    device = choose_device(params.device)
    loaded = load_image_encoder(checkpoint, encoder, view, device)
    loaded.optimise(params.compile, params.channels_last)
    images = IndexedImages(index, view.bits)
    if params.decode == "auto":
        processes = device.startswith("cuda") and len(images) >= _MANY_IMAGES
        params = params.model_copy(update={"decode": "processes" if processes else "threads"})
    if params.batch_size == "auto":
        blank = loaded.preprocess(Image.new("RGB", (256, 256)))

        def run(size: int) -> None:
            ImageRows(
                loaded,
                view.model_copy(update={"crops": 0}),
                _no_image,
                params.model_copy(update={"batch_size": size, "workers": 0, "decode": "threads"}),
            ).forward(list(range(size)), [blank] * size)

        size = find_batch_size(_subject(checkpoint, encoder, view, params), device, run)
        params = params.model_copy(update={"batch_size": size})
    rows = ImageRows(loaded, view, images, params)
    rows.notes |= _options(params)
    return rows


def text_rows(
    checkpoint: Path, encoder: EncoderSpec, view: TextView, strings: Mapping[str, str], params: EncodeParams
) -> TextRows:
    """A row encoder for texts, given by id.

    Raises:
        CheckpointError: as `image_rows`.
    """
    device = choose_device(params.device)
    loaded = load_text_encoder(checkpoint, encoder, view, device)
    if params.compile:
        compile_blocks(loaded.backbone, varying_length=True)
    if params.text_batch_size == "auto":
        longest = heapq.nlargest(_TRIAL_TEXTS, all_texts(strings), key=len)[::-1]

        def run(size: int) -> None:
            texts = dict(zip(map(str, range(size)), cycle(longest), strict=False))
            trial = params.model_copy(update={"text_batch_size": size, "workers": 0})
            list(TextRows(loaded, view, texts, trial).encode(list(texts)))

        size = find_batch_size(_subject(checkpoint, encoder, view, params), device, run)
        params = params.model_copy(update={"text_batch_size": size})
    rows = TextRows(loaded, view, strings, params)
    rows.notes |= _options(params)
    return rows


def further_rows(
    checkpoint: Path, encoder: EncoderSpec, view: FurtherView, index: Path, params: EncodeParams
) -> RowEncoder:
    """A row encoder for the samples of a further modality in `index`.

    Raises:
        CheckpointError: as `image_rows`.
        DataError: the index has none.
    """
    device = choose_device(params.device)

    def tried(run: Callable[[int], None]) -> int:
        return find_batch_size(_subject(checkpoint, encoder, view, params), device, run)

    rows = rows_of(view.modality).row_encoder(checkpoint, encoder, view, index, params, device, tried)
    rows.notes |= {name: True for name in ("compile",) if getattr(params, name)}
    return rows


def _subject(checkpoint: Path, encoder: EncoderSpec, view: AnyView, params: EncodeParams) -> dict[str, Any]:
    """What determines the best batch size."""
    fingerprint = fingerprint_of(read_manifest(checkpoint), encoder, view)
    return {"model": encoder.model, "features": fingerprint.digest, "workers": params.workers} | _options(params)


def _options(params: EncodeParams) -> dict[str, object]:
    """The compute options to record in the store; none by default."""
    return {name: True for name in ("compile", "channels_last") if getattr(params, name)}


def _no_image(identifier: str) -> Image.Image:
    raise AssertionError(f"image {identifier} is preprocessed already")
