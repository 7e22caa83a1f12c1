"""Bringing a backbone up: the only place of the encode room that loads one."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.config.schema import EncodeParams, EncoderSpec, ViewSpec
from pipeline.datasets.decode import ImageTable
from pipeline.device import choose_device
from pipeline.encoders.image import load_image_encoder
from pipeline.encoders.text import load_text_encoder
from pipeline.encoding.rows import ImageRows, TextRows


def image_rows(checkpoint: Path, encoder: EncoderSpec, view: ViewSpec, index: Path, params: EncodeParams) -> ImageRows:
    """A row encoder for the images of `index`.

    Raises:
        CheckpointError: the checkpoint cannot be loaded or lacks what the view asks for.
    """
    loaded = load_image_encoder(checkpoint, encoder, view, choose_device(params.device))
    images = ImageTable(index)
    position = {identifier: row for row, identifier in enumerate(images.ids)}
    return ImageRows(loaded, view, lambda identifier: images.load(position[identifier]), params)


def text_rows(
    checkpoint: Path, encoder: EncoderSpec, view: ViewSpec, strings: Mapping[str, str], params: EncodeParams
) -> TextRows:
    """A row encoder for texts, given by id.

    Raises:
        CheckpointError: as `image_rows`.
    """
    loaded = load_text_encoder(checkpoint, encoder, view, choose_device(params.device))
    return TextRows(loaded, view, strings, params)
