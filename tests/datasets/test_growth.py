"""A data set that grows: what is known is neither read nor encoded again, and rows stay where they were."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipeline.config import (
    EmojiSource,
    EncodeParams,
    FolderSource,
    HubSource,
    ImageFolderSource,
    RawSource,
    WebdatasetSource,
)
from pipeline.datasets import check
from pipeline.datasets.index import build_index
from pipeline.datasets.known import FILE
from pipeline.datasets.raw_files import listing
from pipeline.datasets.tables import read_table
from pipeline.encoders.image import ImageEncoder
from pipeline.features.scratch import WORK_VARIABLE
from tests.datasets.encoders import TinyEncoders
from tests.datasets.layouts import photo, write, write_tar


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    return tmp_path / "work"


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> TinyEncoders:
    return TinyEncoders(tmp_path_factory.mktemp("encoders"))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images in each forward pass of the backbone."""
    counted: list[int] = []
    forward = ImageEncoder.forward

    def counting(self: ImageEncoder, pixels: torch.Tensor) -> object:
        counted.append(len(pixels))
        return forward(self, pixels)

    monkeypatch.setattr(ImageEncoder, "forward", counting)
    return counted


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Bytes of each picture that was decoded for the index."""
    counted: list[int] = []
    decode = check.check_image

    def counting(content: bytes, whole: bool = True, bits: int | None = None) -> object:
        counted.append(len(content))
        return decode(content, whole, bits)

    monkeypatch.setattr(check, "check_image", counting)
    return counted  # type: ignore[return-value]


def settle(root: Path) -> None:
    """As if all files had been written long ago."""
    for path in root.rglob("*"):
        os.utime(path, (1.6e9,) * 2)


def add_pictures(folder: Path, numbers: range) -> None:
    for number in numbers:
        write(folder / f"{number:03d}.jpg", photo(number))
        write(folder / f"{number:03d}.txt", f"thing {number}")
    settle(folder)


def add_tar(folder: Path, shard: int, numbers: range) -> None:
    members = [
        pair
        for number in numbers
        for pair in ((f"{number:03d}.jpg", photo(number)), (f"{number:03d}.txt", f"thing {number}".encode()))
    ]
    write_tar(folder / f"{shard:05d}.tar", members)
    settle(folder)


def ids(index: Path) -> list[str]:
    found: list[str] = read_table(index / "images.parquet")["image_id"].to_pylist()
    return found


def grow(
    spec: RawSource, tmp_path: Path, encoders: TinyEncoders, passes: list[int], reads: list[int], name: str
) -> tuple[list[str], list[int], int]:
    """Index and encode; returns the ids, the images in each pass (largest first), and how many were decoded."""
    passes.clear()
    reads.clear()
    index = tmp_path / f"index-{name}"
    build_index(spec, index, tmp_path, tmp_path / "work")  # type: ignore[arg-type]
    encoders.images(index, tmp_path / f"store-{name}")
    return ids(index), sorted(passes, reverse=True), len(reads)  # threads finish in any order


def test_a_folder_that_is_appended_to(
    encoders: TinyEncoders, passes: list[int], reads: list[int], tmp_path: Path
) -> None:
    spec = ImageFolderSource(source="image-folder", path=str(tmp_path / "raw"), captions="beside", labels="none")
    add_pictures(tmp_path / "raw", range(10))
    before, ran, read = grow(spec, tmp_path, encoders, passes, reads, "before")
    assert (ran, read) == ([4, 4, 2], 10)
    add_pictures(tmp_path / "raw", range(10, 13))
    after, ran, read = grow(spec, tmp_path, encoders, passes, reads, "after")
    assert after[:10] == before
    assert ran == [2, 1], "the last partial shard of 4 and the new one; of the former only what is new"
    assert read == 3
    assert grow(spec, tmp_path, encoders, passes, reads, "again")[1:] == ([], 0)


def test_a_tar_that_is_added(encoders: TinyEncoders, passes: list[int], reads: list[int], tmp_path: Path) -> None:
    spec = WebdatasetSource(source="webdataset", path=f"{tmp_path}/raw/*.tar")
    add_tar(tmp_path / "raw", 0, range(6))
    before, ran, read = grow(spec, tmp_path, encoders, passes, reads, "before")
    assert (ran, read) == ([4, 2], 6)
    add_tar(tmp_path / "raw", 1, range(6, 11))
    after, ran, read = grow(spec, tmp_path, encoders, passes, reads, "after")
    assert after[:6] == before
    assert (ran, read) == ([3, 2], 5)


def test_a_picture_that_changes_is_read_again(reads: list[int], tmp_path: Path) -> None:
    spec = ImageFolderSource(source="image-folder", path=str(tmp_path / "raw"), captions="beside", labels="none")
    add_pictures(tmp_path / "raw", range(4))
    build_index(spec, tmp_path / "one", tmp_path, tmp_path / "work")
    write(tmp_path / "raw/002.jpg", photo(40))
    reads.clear()
    build_index(spec, tmp_path / "two", tmp_path, tmp_path / "work")
    assert len(reads) == 1
    one, two = ids(tmp_path / "one"), ids(tmp_path / "two")
    assert [a == b for a, b in zip(one, two, strict=True)] == [True, True, False, True]
    reads.clear()
    build_index(spec, tmp_path / "three", tmp_path, tmp_path / "work")
    assert len(reads) == 1, "a file of this very moment may still change and is not remembered"


def test_a_picture_that_changes_behind_the_index_is_not_encoded_under_its_old_id(
    encoders: TinyEncoders, tmp_path: Path
) -> None:
    add_pictures(tmp_path / "raw", range(4))
    spec = ImageFolderSource(source="image-folder", path=str(tmp_path / "raw"), captions="beside", labels="none")
    build_index(spec, tmp_path / "index", tmp_path)
    write(tmp_path / "raw/002.jpg", photo(40))
    params = EncodeParams(batch_size=4, shard_rows=4, max_failure_rate=0.5)
    store, _ = encoders.images(tmp_path / "index", tmp_path / "store", params)
    assert store.valid.tolist() == [True, True, False, True]
    assert "has changed since it was indexed" in store.reasons[ids(tmp_path / "index")[2]]


def test_a_lost_or_damaged_memory_costs_reading_alone(
    reads: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = ImageFolderSource(source="image-folder", path=str(tmp_path / "raw"), captions="beside", labels="none")
    add_pictures(tmp_path / "raw", range(4))
    build_index(spec, tmp_path / "one", tmp_path, tmp_path / "work")
    for path in (tmp_path / "work").glob(f"{FILE}*"):
        path.unlink()
    write(tmp_path / "work" / FILE, b"not a database" * 99)
    build_index(spec, tmp_path / "two", tmp_path, tmp_path / "work")
    assert len(reads) == 8
    assert "is damaged" in caplog.text
    for name in ("images", "texts", "pairs", "labels"):
        assert (tmp_path / f"one/{name}.parquet").read_bytes() == (tmp_path / f"two/{name}.parquet").read_bytes()


def test_pictures_in_the_order_of_their_time(tmp_path: Path) -> None:
    spec = ImageFolderSource(
        source="image-folder", path=str(tmp_path / "raw"), captions="beside", labels="none", order="time"
    )
    for place, number in enumerate((5, 3, 9)):
        add_pictures(tmp_path / "raw", range(number, number + 1))
        for path in (tmp_path / "raw").glob(f"{number:03d}.*"):
            os.utime(path, (1e9 + place,) * 2)
        for other in (5, 3, 9)[:place]:
            os.utime(tmp_path / f"raw/{other:03d}.jpg", (1e9 + (5, 3, 9).index(other),) * 2)
    build_index(spec, tmp_path / "index", tmp_path)
    assert read_table(tmp_path / "index/images.parquet")["key"].to_pylist() == ["005.jpg", "003.jpg", "009.jpg"]


def test_a_listing_sees_every_change_and_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = FolderSource(source="folder", path=str(tmp_path / "raw"))
    assert listing(spec) is None
    add_pictures(tmp_path / "raw/deep", range(3))
    monkeypatch.setattr("builtins.open", lambda *_: pytest.fail("a file was opened"))
    seen = [listing(spec)]
    assert listing(spec) == seen[0]
    assert seen[0] is not None
    assert seen[0]["files"] == 6
    changes = (
        lambda: (tmp_path / "raw/deep/000.jpg").rename(tmp_path / "raw/deep/9.jpg"),
        lambda: os.truncate(tmp_path / "raw/deep/001.jpg", 10),
        lambda: os.utime(tmp_path / "raw/deep/002.jpg", (5, 5)),
        lambda: (tmp_path / "raw/deep/002.jpg").unlink(),
    )
    for change in changes:
        change()
        seen.append(listing(spec))
    assert len({entry["digest"] for entry in seen if entry}) == len(changes) + 1


def test_listings_of_patterns_names_on_the_hub_and_no_files_at_all(tmp_path: Path) -> None:
    tars = WebdatasetSource(source="webdataset", path=(f"{tmp_path}/{{0..1}}.tar", f"{tmp_path}/x*.tar"))
    assert listing(tars) is None
    for name in ("0", "1", "x2"):
        write_tar(tmp_path / f"{name}.tar", [("a.jpg", photo(0))])
    first = listing(tars)
    assert first is not None
    assert first["files"] == 3
    emoji = EmojiSource(source="emoji", styles=("noto",), languages=("en",))
    named = HubSource(source="hub", path="someone/something")
    assert [entry and entry["files"] for entry in (listing(emoji), listing(named))] == [0, 0]
