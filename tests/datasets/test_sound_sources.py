"""Sources of sounds, alone and beside pictures: what an index of each says."""

import csv
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from pipeline.config import DatasetSpec
from pipeline.datasets.audio.decode import AudioTable
from pipeline.datasets.further import schemas
from pipeline.datasets.index import build_index
from pipeline.datasets.raw_files import listing
from pipeline.datasets.tables import media_id, read_table
from pipeline.errors import SourceError
from tests.datasets.conftest import picture
from tests.datasets.sounds import encoded, noise, tone, write

# that have sounds, or samples of another further modality, alone
SOURCES = {"audio-folder", "clotho", "audiocaps", "esc50", "speech-commands", "media-folder"}
SCHEMAS = schemas("audio")


def spec(**entry: Any) -> Any:
    return TypeAdapter(DatasetSpec).validate_json(json.dumps(entry, default=str))


def built(root: Path, **entry: Any) -> tuple[Path, dict[str, Any]]:
    index = root / "index"
    about = build_index(spec(**entry), index, root / "downloads", root / "work")
    tally = about["tally"]
    assert tally["read"] == tally["used"] + sum(tally["failed"].values()), "nothing is lost without a word"
    return index, about


def rows(index: Path, name: str) -> list[dict[str, Any]]:
    return read_table(index / f"{name}.parquet").to_pylist()


def said(index: Path) -> dict[str, list[str]]:
    """The captions of each sound, by its key."""
    texts = {row["text_id"]: row["text"] for row in rows(index, "texts")}
    keys = {row["audio_id"]: row["key"] for row in rows(index, "audio")}
    found: dict[str, list[str]] = {key: [] for key in keys.values()}
    for pair in rows(index, "audio_pairs"):
        found[keys[pair["audio_id"]]].append(texts[pair["text_id"]])
    return found


def splits(index: Path) -> dict[str, str | None]:
    keys = {row["audio_id"]: row["key"] for row in rows(index, "audio")}
    return {keys[row["audio_id"]]: row["split"] for row in rows(index, "audio_labels")}


def table(path: Path, *lines: tuple[str, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)


def test_a_folder_of_sounds_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write(data / "a.wav", noise(1, 0.5, 22_050), 22_050)
    write(data / "b.flac", noise(2), form="FLAC")
    table(data / "captions.csv", ("audio", "caption"), ("a.wav", "rain"), ("b.flac", "a dog"), ("a.wav", "drops"))
    index, about = built(tmp_path, source="folder", path=data)
    assert about["counts"] == {"images": 0, "sounds": 2, "texts": 3, "pairs": 0, "concepts": 2, "failures": 0}
    assert said(index) == {"a.wav": ["rain", "drops"], "b.flac": ["a dog"]}
    first = rows(index, "audio")[0]
    content = (data / "a.wav").read_bytes()
    assert first == {
        "audio_id": media_id(content),
        **{"modality": "audio", "path": str(data / "a.wav"), "offset": 0, "length": -1, "form": "wav"},
        **{"sample_rate": 22_050, "channels": 1, "frames": 11_025, "seconds": 0.5, "kind": "sound", "language": None},
        "key": "a.wav",
    }
    for name, schema in SCHEMAS.items():
        assert read_table(index / f"{name}.parquet").schema == schema
    assert rows(index, "audio_images") == []
    assert AudioTable(index).load(0).samples.shape == (11_025,)


def test_a_folder_of_pictures_with_sounds_is_a_pair_of_both(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.png").write_bytes(picture(1))
    write(data / "a.wav", noise(1))
    lines = [("file", "audio", "caption", "concept"), ("a.png", "a.wav", "a crow", "crow")]
    table(data / "captions.csv", *lines)
    index, about = built(tmp_path, source="folder", path=data)
    image, sound = rows(index, "images")[0], rows(index, "audio")[0]
    assert rows(index, "audio_images") == [{"audio_id": sound["audio_id"], "image_id": image["image_id"]}]
    assert [row["concept"] for name in ("labels", "audio_labels") for row in rows(index, name)] == ["crow", "crow"]
    assert [row["text_id"] for row in rows(index, "pairs")] == [row["text_id"] for row in rows(index, "audio_pairs")]
    assert about["counts"]["sounds"] == about["counts"]["images"] == about["counts"]["concepts"] == 1


def test_a_nameless_pair_is_one_concept(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.png").write_bytes(picture(1))
    write(data / "a.wav", noise(1))
    table(data / "captions.csv", ("file", "audio", "caption"), ("a.png", "a.wav", "something"))
    index, _ = built(tmp_path, source="folder", path=data)
    assert rows(index, "audio_labels")[0]["concept"] == rows(index, "images")[0]["image_id"]


def test_without_sounds_an_index_has_no_table_of_them_and_an_earlier_one_goes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.png").write_bytes(picture(1))
    write(data / "a.wav", noise(1))
    table(data / "captions.csv", ("audio", "caption"), ("a.wav", "rain"))
    index, _ = built(tmp_path, source="folder", path=data)
    assert (index / "audio.parquet").is_file()
    table(data / "captions.csv", ("file", "caption"), ("a.png", "a crow"))
    index, about = built(tmp_path, source="folder", path=data)
    assert not [*index.glob("audio*"), *index.glob("sounds*")]
    assert "sounds" not in about["counts"]


def test_bad_sounds_are_failures_by_reason(tmp_path: Path) -> None:
    data = tmp_path / "data"
    good = [(f"{number}.wav", f"sound {number}") for number in range(20)]
    for number, (name, _) in enumerate(good):
        write(data / name, noise(number))
    (data / "empty.wav").write_bytes(b"")
    (data / "cut.wav").write_bytes(encoded(tone())[:-4000])
    bad = [("empty.wav", "x"), ("cut.wav", "x"), ("gone.wav", "x")]
    table(data / "captions.csv", ("audio", "caption"), *good, *bad)
    index, about = built(tmp_path, source="folder", path=data, max_failure_rate=0.5)
    assert about["counts"]["sounds"] == 20
    assert len(about["tally"]["failed"]) == 3
    assert {"an empty file", "cut short"} < set(about["tally"]["failed"])
    assert [row["key"].rpartition(": ")[2] for row in rows(index, "failures")] == ["empty.wav", "cut.wav", "gone.wav"]
    with pytest.raises(SourceError, match="3 of 23 samples cannot be indexed"):
        built(tmp_path, source="folder", path=data, max_failure_rate=0.01)


def test_an_unchanged_sound_is_not_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    for name in ("a.wav", "b.wav"):
        write(data / name, noise(len(name)))
        import os

        os.utime(data / name, (1_000_000_000, 1_000_000_000))
    table(data / "captions.csv", ("audio", "caption"), ("a.wav", "rain"), ("b.wav", "rain"))
    index, _ = built(tmp_path, source="folder", path=data)
    before = {path.name: path.read_bytes() for path in index.glob("*.parquet")}

    def refuse(*_: Any) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("pipeline.datasets.audio.reader.check", refuse)
    index, _ = built(tmp_path, source="folder", path=data)
    assert {path.name: path.read_bytes() for path in index.glob("*.parquet")} == before


@pytest.mark.parametrize("alone", [True, False])
def test_a_table_with_bytes_or_paths(tmp_path: Path, alone: bool) -> None:
    write(tmp_path / "sounds" / "a.wav", noise(1))
    inside = {"bytes": encoded(noise(2), form="OGG", subtype="VORBIS"), "path": "b.ogg"}
    columns: dict[str, Any] = {
        "wav": [{"bytes": None, "path": "sounds/a.wav"}, inside],
        "text": [["rain", "drops"], ["a dog"]],
        "part": ["train", "test"],
    }
    if not alone:
        columns["photo"] = [picture(1), picture(2)]
    pq.write_table(pa.table(columns), tmp_path / "data.parquet")
    named = {"audio": "wav", "caption": "text", "split": "part"} | ({} if alone else {"image": "photo"})
    index, about = built(tmp_path, source="table", path=tmp_path / "data.parquet", columns=named)
    assert about["counts"]["sounds"] == 2
    assert about["counts"]["images"] == (0 if alone else 2)
    assert said(index) == {"sounds/a.wav": ["rain", "drops"], "b.ogg": ["a dog"]}
    assert [row["path"] for row in rows(index, "audio")] == [str(tmp_path / "sounds/a.wav"), "sounds.tar"]
    assert list(splits(index).values()) == ["train", "test"]
    assert len(rows(index, "audio_images")) == (0 if alone else 2)
    for position in range(2):
        assert AudioTable(index).load(position).rate == 16_000


@pytest.mark.parametrize("media", ["audio", "both"])
def test_a_webdataset(tmp_path: Path, media: str) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for number in range(3):
            members = {
                "flac": encoded(noise(number), form="FLAC"),
                "txt": f"sound {number}".encode(),
                "png": picture(number),
            }
            for ending, content in members.items():
                member = tarfile.TarInfo(f"{number}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    index, about = built(tmp_path, source="webdataset", path=tmp_path / "0.tar", media=media)
    assert said(index) == {f"0/{number}": [f"sound {number}"] for number in range(3)}
    assert about["counts"]["images"] == (3 if media == "both" else 0)
    assert len(rows(index, "audio_images")) == (3 if media == "both" else 0)
    assert all(row["path"].endswith("0.tar") and row["offset"] > 0 for row in rows(index, "audio"))


def test_the_audio_column_of_a_hub_data_set_stays_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = tmp_path / "hub"
    folder.mkdir()
    sounds = [{"bytes": encoded(noise(number)), "path": f"{number}.wav"} for number in range(3)]
    features = datasets.Features(
        {"sound": datasets.Audio(decode=False), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    given = pa.table({"sound": sounds, "label": [0, 1, 0]}, schema=features.arrow_schema)  # which names the features
    pq.write_table(given, folder / "train.parquet")
    columns = {"audio": "sound", "classname": "label", "caption": None}
    index, about = built(tmp_path, source="hub", path=folder, columns=columns)
    assert about["counts"]["sounds"] == 3
    assert [row["classname"] for row in rows(index, "audio_labels")] == ["a", "b", "a"]
    assert rows(index, "audio")[0]["audio_id"] == media_id(encoded(noise(0)))


def test_a_folder_per_class_and_captions_beside(tmp_path: Path) -> None:
    for number, name in enumerate(("rain", "dog_bark")):
        write(tmp_path / "data" / name / "1.wav", noise(number))
        (tmp_path / "data" / name / "notes.md").write_text("x")
    index, about = built(tmp_path, source="audio-folder", path=tmp_path / "data")
    assert said(index) == {"dog_bark/1.wav": ["dog bark"], "rain/1.wav": ["rain"]}
    assert about["tally"]["left_out"] == {"no sound: .md": 2}
    (tmp_path / "data" / "rain" / "1.txt").write_text("it pours\nrain on a roof\n")
    (tmp_path / "data" / "dog_bark" / "1.txt").write_text("a dog\n")
    entry = {"source": "audio-folder", "path": tmp_path / "data", "captions": "beside", "labels": "none"}
    index, _ = built(tmp_path, **entry)
    assert said(index) == {"dog_bark/1.wav": ["a dog"], "rain/1.wav": ["it pours", "rain on a roof"]}


def test_clotho(tmp_path: Path) -> None:
    header = ("file_name", *(f"caption_{number}" for number in range(1, 6)))
    for part in ("development", "evaluation"):
        write(tmp_path / "data" / part / f"{part} 1.wav", noise(len(part)), 44_100)
        table(tmp_path / "data" / f"clotho_captions_{part}.csv", header, (f"{part} 1.wav", *"abcde"))
    index, _ = built(tmp_path, source="clotho", path=tmp_path / "data")
    keys = ["development/development 1.wav", "evaluation/evaluation 1.wav"]
    assert said(index) == {key: list("abcde") for key in keys}
    assert splits(index) == dict(zip(keys, ["train", "test"], strict=True))


def test_audiocaps(tmp_path: Path) -> None:
    header = ("audiocap_id", "youtube_id", "start_time", "caption")
    names = {"one": "one.wav", "-two": "Y-two.wav", "three": "three_30.flac"}
    for number, name in enumerate(names.values()):
        write(tmp_path / "sounds" / name, noise(number), form="FLAC" if name.endswith("flac") else "WAV")
    table(
        tmp_path / "train.csv", header, ("1", "one", "0", "rain"), ("2", "-two", "10", "a dog"), ("9", "gone", "0", "x")
    )
    table(tmp_path / "test.csv", header, ("3", "three", "30", "wind"), ("4", "three", "30", "a storm"))
    lists = [str(tmp_path / name) for name in ("train.csv", "test.csv")]
    entry = {"source": "audiocaps", "annotations": lists, "sounds": tmp_path / "sounds", "max_failure_rate": 0.5}
    index, about = built(tmp_path, **entry)
    assert said(index) == {"one": ["rain"], "-two": ["a dog"], "three": ["wind", "a storm"]}
    assert splits(index) == {"one": "train", "-two": "train", "three": "test"}
    assert about["counts"]["failures"] == 1
    found = listing(spec(**entry))
    assert found is not None
    assert found["files"] == 5


def test_esc50(tmp_path: Path) -> None:
    header = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
    lines = [
        ("1-a.wav", "1", "0", "dog", "True", "1", "A"),
        ("5-b.wav", "5", "36", "vacuum_cleaner", "False", "5", "B"),
    ]
    for number, line in enumerate(lines):
        write(tmp_path / "data" / "audio" / line[0], noise(number), 44_100)
    table(tmp_path / "data" / "meta" / "esc50.csv", header, *lines)
    index, _ = built(tmp_path, source="esc50", path=tmp_path / "data", test_fold=5)
    assert said(index) == {"1-a.wav": ["dog"], "5-b.wav": ["vacuum cleaner"]}
    assert splits(index) == {"1-a.wav": "train", "5-b.wav": "test"}
    assert {row["concept"] for row in rows(index, "audio_labels")} == {"dog", "vacuum cleaner"}


def test_speech_commands(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number, name in enumerate(("cat/a_nohash_0.wav", "cat/b_nohash_0.wav", "up/a_nohash_0.wav")):
        write(root / name, noise(number, 0.2))
    write(root / "_background_noise_" / "rain.wav", noise(9, 2.0))
    (root / "validation_list.txt").write_text("cat/b_nohash_0.wav\n")
    (root / "testing_list.txt").write_text("up/a_nohash_0.wav\n")
    index, about = built(tmp_path, source="speech-commands", path=root)
    assert splits(index) == {
        "cat/a_nohash_0.wav": "train",
        "cat/b_nohash_0.wav": "validation",
        "up/a_nohash_0.wav": "test",
    }
    assert said(index)["up/a_nohash_0.wav"] == ["up"]
    assert about["tally"]["left_out"] == {"background noise": 1}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"source": "clotho", "path": "DATA"}, "No file of captions in .*clotho_captions_development.csv"),
        ({"source": "esc50", "path": "DATA"}, "No file at .*esc50.csv"),
        ({"source": "speech-commands", "path": "DATA"}, "testing_list.txt|validation_list.txt"),
        ({"source": "clotho", "path": "DATA/nowhere"}, "No folder at .* See `path`"),
        (
            {"source": "audiocaps", "annotations": "DATA/x.csv", "sounds": "DATA/nowhere"},
            "No folder at .* See `sounds`",
        ),
    ],
)
def test_a_layout_that_is_not_there(tmp_path: Path, entry: dict[str, str], message: str) -> None:
    (tmp_path / "data").mkdir()
    moved = {key: value.replace("DATA", str(tmp_path / "data")) for key, value in entry.items()}
    with pytest.raises(SourceError, match=message):
        built(tmp_path, **moved)
