"""Videos in an index: what is read of files, what becomes of wrong ones, and their tables."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config.audio_sources import MediaFolderSource
from pipeline.config.datasets import FolderSource
from pipeline.config.further import FURTHER
from pipeline.config.modalities import ORDER, SIDES, many, one
from pipeline.datasets.further import reader, samples_schema, schemas
from pipeline.datasets.index import build_index
from pipeline.datasets.tables import read_table
from pipeline.datasets.video import VideoInfo, check, decode, told
from pipeline.errors import DataError, SourceError
from tests.videos.films import FRAMES, SIDE, encoded, films, frames, write


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_a_video(form: str) -> None:
    content = encoded(frames("red", "left"), form)
    info = check(content)
    assert info == VideoInfo(FRAMES, 40 * FRAMES, SIDE, SIDE, form.lower())
    assert told(info.checked("ab")) == info
    assert check(content, whole=False).frames == FRAMES


@pytest.mark.parametrize("form", ["WEBP", "PNG"])
@pytest.mark.parametrize(
    ("count", "expected"), [(1, [4]), (4, [1, 3, 5, 7]), (8, range(8)), (16, [n // 2 for n in range(16)])]
)
def test_frames_are_the_middles_of_equal_parts(form: str, count: int, expected: list[int]) -> None:
    film = frames("blue", "down")
    found = decode(encoded(film, form), count, FRAMES)
    assert [np.array_equal(np.asarray(a), np.asarray(film[b])) for a, b in zip(found, expected, strict=True)] == [
        True
    ] * count


def test_what_is_transparent_is_white() -> None:
    film = [Image.new("RGBA", (20, 20), (255, 0, 0, alpha)) for alpha in (0, 255)]
    clear, red = decode(encoded(film, "PNG"), 2, 2)
    assert clear.getpixel((3, 3)) == (255, 255, 255)
    assert red.getpixel((3, 3)) == (255, 0, 0)


def test_a_still_picture_is_a_video_of_one_frame() -> None:
    content = encoded(frames("red", "up", count=1), "PNG")
    assert check(content).frames == 1
    assert len(decode(content, 4, 1)) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"not a video at all", "not an image of a known format"),
        (encoded(frames("red", "up"), "WEBP")[:300], "damaged image|not an image"),
        (encoded(frames("red", "up"), "PNG")[:400], "damaged image"),
    ],
)
def test_what_is_wrong_is_said(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check(content)


def test_a_container_needs_pyav_or_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SourceError, match=r"pip install 'permafrost-align\[video\]'"):
        check(b"\0\0\0\x18ftypmp42" + b"\0" * 100)


def test_pyav_reads_what_it_wrote_and_refuses_what_is_cut(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="the extra `video` is not installed")
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        for frame in frames("red", "left", count=20):
            container.mux(stream.encode(av.VideoFrame.from_image(frame.resize((64, 64)))))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    info = check(content)
    assert (info.frames, info.width, info.height, info.form) == (20, 64, 64, "mp4")
    assert info.milliseconds == pytest.approx(2000, abs=150)
    found = decode(content, 4, 20)
    expected = [frames("red", "left", count=20)[n].resize((64, 64)) for n in (2, 7, 12, 17)]
    assert (
        max(np.abs(np.asarray(a, float) - np.asarray(b, float)).mean() for a, b in zip(found, expected, strict=True))
        < 12
    )
    with pytest.raises(DataError, match="FFmpeg|without frames|cut short"):
        check(content[:200])


def test_a_folder_with_a_table_and_class_folders(tmp_path: Path) -> None:
    count = write(tmp_path / "films")
    (tmp_path / "films/broken.gif").write_bytes(b"GIF89a nothing")
    with open(tmp_path / "films/captions.csv", "a") as file:
        file.write("broken.gif,a broken one,broken\n")
    about = build_index(FolderSource(source="folder", path=str(tmp_path / "films")), tmp_path / "a", tmp_path)
    assert {key: about["counts"][key] for key in ("images", "videos", "failures")} == {
        "images": 0,
        "videos": count,
        "failures": 1,
    }
    for name, schema in schemas("video").items():
        assert read_table(tmp_path / "a" / f"{name}.parquet").schema == schema
    row = read_table(tmp_path / "a/video.parquet").to_pylist()[0]
    expected = {
        "frames": FRAMES,
        "seconds": 0.32,
        "width": SIDE,
        "height": SIDE,
        "form": "png",
        "kind": "video",
        "language": None,
    }
    assert {key: row[key] for key in expected} == expected
    assert not (tmp_path / "a/audio.parquet").exists()

    for name, _, film in films():
        path = tmp_path / "classes" / name.split("-")[2] / f"{name}.webp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(film, "WEBP"))
    spec = MediaFolderSource(source="media-folder", modality="video", path=str(tmp_path / "classes"))
    about = build_index(spec, tmp_path / "b", tmp_path)
    assert (about["counts"]["videos"], about["counts"]["concepts"]) == (count, 4)


@pytest.mark.parametrize("modality", FURTHER)
def test_every_entry_of_the_catalogue_has_what_the_rooms_ask_for(modality: str) -> None:
    entry = FURTHER[modality]
    assert ORDER.index("image") < ORDER.index(modality) < ORDER.index("text")
    assert all(modality in side for side in SIDES)
    assert (one(modality), many(modality)) == (entry.called, f"{entry.called}s")
    assert entry.told in entry.part("view").model_fields
    assert {"ENDINGS", "COLUMNS", "check", "told"} <= {*vars(reader(modality))}
    assert {"EMBEDDED", "describe"} <= {*vars(entry.part("towers"))}
    assert {"ids", "row_encoder", "noise"} <= {*vars(entry.part("rows"))}
    assert samples_schema(modality).names[1] == f"{modality}_id"


def test_letters_of_directions_differ() -> None:
    assert len({name[0] for name in ORDER}) == len(ORDER)
