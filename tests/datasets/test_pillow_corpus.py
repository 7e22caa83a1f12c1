"""Every file of Pillow's own test suite goes through `index` and `encode`: Pillow's pixels, or a named reason.

Pixels are within 2 of 255 of `Image.convert("RGB")` of the same version, after its own `exif_transpose` and over white
where the picture is transparent. Grey of more than 8 bits, which Pillow clips in place of scaling, is within 2 of its
share of the range.
"""

import csv
import io
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from pipeline.config import EncodeParams, FolderSource
from pipeline.datasets.decode import ImageTable, check_image
from pipeline.datasets.index import build_index
from pipeline.datasets.tables import image_id, read_table
from pipeline.features.scratch import WORK_VARIABLE
from tests.datasets.encoders import TinyEncoders

BETTER = {"unknown_compression_method.png"}  # Pillow refuses it for a comment that it cannot unpack
READ = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "SGI", "TIFF", "WEBP")
REASONS = (
    *("empty file", "not an image of a known format", "damaged image (", "too many pixels (", "too narrow ("),
    *("its pixels are from", "its pixels have 16 bits and go up to"),
)
NO_NETWORK = ("No matching distribution", "Connection", "Temporary failure", "Network", "timed out", "Max retries")
PILLOW = f"pillow-{PIL.__version__}"


def source_package(downloads: Path) -> Path:
    """Pillow's source package, fetched once per machine by pip."""
    target = downloads / f"{PILLOW}.tar.gz"
    if not target.is_file():
        downloads.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--no-binary", "pillow", "--no-deps", "--dest"]
        done = subprocess.run(
            [*command, str(downloads), f"pillow=={PIL.__version__}"], capture_output=True, text=True, check=False
        )
        if not target.is_file() and any(sign in done.stdout + done.stderr for sign in NO_NETWORK):
            pytest.skip(f"no network, so pip cannot fetch the source package of Pillow: {done.stderr[-300:]}")
        assert target.is_file(), done.stderr
    return target


class Corpus:
    """The files by path, their bytes, and what became of each."""

    def __init__(self, package: Path, root: Path) -> None:
        self.content: dict[str, bytes] = {}
        prefix = f"{PILLOW}/Tests/images/"
        with tarfile.open(package) as archive:
            for member in archive:
                if member.isfile() and member.name.startswith(prefix):
                    file = archive.extractfile(member)
                    assert file is not None
                    self.content[member.name.removeprefix(prefix)] = file.read()
        for name, content in self.content.items():
            (root / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "raw" / name).write_bytes(content)
        with open(root / "raw/captions.csv", "w", newline="", encoding="utf-8") as table:
            csv.writer(table).writerows([("file", "caption"), *((name, "a picture") for name in self.content)])
        spec = FolderSource(source="folder", path=str(root / "raw"), max_failure_rate=1.0)
        self.tally = build_index(spec, root / "index", root)["tally"]
        rows = read_table(root / "index/failures.parquet").to_pylist()
        self.reasons = {row["key"].split(": ", 1)[1]: row["reason"] for row in rows}
        self.table = ImageTable(root / "index")
        self.position = {identity: position for position, identity in enumerate(self.table.ids)}
        params = EncodeParams(batch_size=64, workers=0, shard_rows=4096, max_failure_rate=0.0)
        self.store, _ = TinyEncoders(root / "encoders").images(root / "index", root / "store", params)


@pytest.fixture(scope="module")
def corpus(downloads: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    package = source_package(downloads)
    root = tmp_path_factory.mktemp("corpus")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv(WORK_VARIABLE, str(root / "work"))
        return Corpus(package, root)


@pytest.fixture(autouse=True)
def _texts_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow by itself refuses a PNG with a large text; here it is to say what its pixels are."""
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1 << 28)


def test_each_file_is_used_or_fails_with_a_named_reason(corpus: Corpus) -> None:
    assert len(corpus.content) > 500
    assert corpus.tally["read"] == len(corpus.content)
    assert corpus.tally["used"] + sum(corpus.tally["failed"].values()) == len(corpus.content)
    used = {name for name, content in corpus.content.items() if image_id(content) in corpus.position}
    assert used | corpus.reasons.keys() == corpus.content.keys()
    assert not used & corpus.reasons.keys()
    unnamed = {name: reason for name, reason in corpus.reasons.items() if not reason.startswith(REASONS)}
    assert unnamed == {}
    assert len(used) > len(corpus.content) / 2


def test_what_fails_is_not_read_by_pillow_either(corpus: Corpus) -> None:
    Image.init()
    assert set(READ) <= set(Image.OPEN)
    wrong, refused = {}, 0
    for name, reason in corpus.reasons.items():
        if reason.startswith(("damaged", "not an image", "empty")):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    with Image.open(io.BytesIO(corpus.content[name]), formats=READ) as image:
                        image.load()
                wrong[name] = reason
            except Exception:  # as expected: Pillow raises all sorts of errors for these files
                refused += 1
    assert wrong == {}
    assert refused > 100


def test_pixels_are_those_of_pillow(corpus: Corpus) -> None:
    wrong = {}
    for name, content in corpus.content.items():
        position = corpus.position.get(image_id(content))
        if position is None or name in BETTER:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours = np.asarray(corpus.table.load(position)).astype(np.int64)
            difference = _difference(content, ours)
            by_header = check_image(content, whole=False)[0]
        row = corpus.table.row(position)
        if difference > 2 or not ours.shape[1::-1] == (row["width"], row["height"]) == by_header:
            wrong[name] = difference
    assert wrong == {}


def _difference(content: bytes, ours: np.ndarray) -> float:
    """The largest difference from Pillow's own conversion, in steps of 255."""
    with Image.open(io.BytesIO(content), formats=READ) as opened:
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            values = np.asarray(image).astype(np.float64)
            if ours.shape[:2] != values.shape:
                return float("inf")
            tags = getattr(opened, "tag_v2", {})
            bits = tags.get(258, (16,))[0]
            tops = [1, 255, 65535, 2**bits - 1] if image.mode in ("I", "F") else [2**bits - 1]
            return min(float(np.abs(ours[..., 0] - values * 255 / top).max()) for top in tops)
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        expected = np.asarray(image.convert("RGB")).astype(np.int64)
    return float(np.abs(ours - expected).max()) if ours.shape == expected.shape else float("inf")


def test_every_picture_has_features(corpus: Corpus) -> None:
    assert corpus.store.ids.tolist() == corpus.table.ids
    assert corpus.store.valid.all()
    assert np.isfinite(corpus.store.read("cls", corpus.store.ids[:64]).astype(np.float32)).all()
