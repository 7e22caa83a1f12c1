"""Shared by the tests of the data sets: small pictures, hand-made indexes, the folder of downloads."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.concepts import concept_key


@pytest.fixture(scope="session")
def downloads() -> Path:
    """Where the stages keep package payloads, so that tests fetch them once per machine."""
    from pipeline.work_folder import work_folder

    return work_folder() / "downloads"


def picture(number: int, size: tuple[int, int] = (4, 4)) -> bytes:
    """PNG bytes that differ for each number below 2**24."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (number & 255, number >> 8 & 255, number >> 16 & 255)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def make_index(tmp_path: Path) -> Callable[..., Path]:
    """make_index("emoji", ["cat", "cat face"], first=0, split=None): an index with one picture per name."""

    def make(dataset: str, names: list[str], first: int = 0, split: str | None = None) -> Path:
        folder = tmp_path / "index" / dataset
        with IndexBuilder(folder) as builder:
            for number, name in enumerate(names, start=first):
                image = builder.add_image(picture(number), name)
                builder.label(image, concept_key(name), name, "things", split=split)
                builder.link(image, builder.add_text(name, "en"), "en")
            builder.finish({"source": "made"})
        return folder

    return make
