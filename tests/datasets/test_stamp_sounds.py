"""Which recordings of the stamps' package are taken, what they are called, and whom they belong to."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.audio.stamps import Stamp, StampSounds
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.tables import media_id, read_table
from pipeline.errors import ConfigError
from tests.datasets.conftest import picture
from tests.datasets.sounds import encoded, noise

NAMES = ("birds/crow", "birds/duck", "birds/swan")
CAPTIONS = {"en": "A bird.", "fr": "Un oiseau."}


def built(folder: Path, files: dict[str, bytes], effects: bool = True, **languages: str) -> dict[str, Any]:
    """The about.json of an index of three stamps, with these sounds of the package."""
    heard = StampSounds(effects, languages)
    kept = {name: content for name, content in files.items() if heard.may_need(name)}
    with IndexBuilder(folder) as builder:
        stamps = []
        for number, stem in enumerate(NAMES):
            image = builder.add_image(picture(number), stem)
            label = (stem.rpartition("/")[2], stem.rpartition("/")[2], "birds")
            builder.label(image, *label)
            stamps.append(Stamp(stem, image, *label, CAPTIONS))
        return builder.finish({"source": "stamps", "sounds": heard.index(kept, stamps, builder)})


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return read_table(folder / f"{name}.parquet").to_pylist()


def vorbis(seed: int) -> bytes:
    return encoded(noise(seed), form="OGG", subtype="VORBIS")


def test_effects_and_speech_are_told_apart(tmp_path: Path) -> None:
    files = {
        "birds/crow.wav": encoded(noise(1)),
        "birds/crow_desc.ogg": vorbis(2),
        "birds/duck_desc_fr.ogg": vorbis(3),
        "birds/duck_desc_pt_BR.ogg": vorbis(4),
        "birds/duck_desc_ru.ogg": vorbis(5),
        "birds/owl.ogg": vorbis(6),
        "birds/crow.png": b"a picture",
    }
    about = built(tmp_path, files, en="en", fr="fr", pt_br="pt")
    told = {row["key"]: (row["kind"], row["language"], row["form"]) for row in rows(tmp_path, "audio")}
    assert told == {
        "birds/crow": ("effect", None, "wav"),
        "birds/crow_desc": ("speech", "en", "ogg"),
        "birds/duck_desc_fr": ("speech", "fr", "ogg"),
        "birds/duck_desc_pt_BR": ("speech", "pt", "ogg"),
    }
    assert about["sounds"]["used"] == {"effects": 1, "speech en": 1, "speech fr": 1, "speech pt": 1}
    assert about["sounds"]["left_out"] == {"speech in other languages": 1, "of no stamp that is indexed": 1}
    assert {row["concept"] for row in rows(tmp_path, "audio_labels")} == {"crow", "duck"}
    pairs = [(row["audio_id"], row["language"]) for row in rows(tmp_path, "audio_pairs")]
    assert sorted(language for _, language in pairs) == ["en"] * 4 + ["fr"] * 4


def test_a_recording_of_several_stamps_is_one_row_with_one_label(tmp_path: Path) -> None:
    same = vorbis(1)
    built(tmp_path, {f"{stem}_desc_fr.ogg": same for stem in NAMES}, fr="fr")
    (row,) = rows(tmp_path, "audio")
    assert (row["audio_id"], row["key"]) == (media_id(same), "birds/crow_desc_fr")
    assert [row["concept"] for row in rows(tmp_path, "audio_labels")] == ["crow"]
    assert len(rows(tmp_path, "audio_images")) == 3
    assert read_table(tmp_path / "audio.parquet")["length"].to_pylist() == [len(same)]


def test_what_cannot_be_decoded_is_listed(tmp_path: Path) -> None:
    about = built(tmp_path, {"birds/crow.ogg": vorbis(1), "birds/duck.ogg": vorbis(2)[:-50]})
    assert about["sounds"]["left_out"]["cannot be decoded"] == 1
    assert [(row["key"], row["reason"].partition(";")[0]) for row in rows(tmp_path, "failures")] == [
        ("birds/duck.ogg", "cut short")
    ]


def test_a_language_that_nobody_speaks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names 'ja', in which no stamp that is indexed is read out"):
        built(tmp_path, {"birds/crow_desc_fr.ogg": vorbis(1)}, fr="fr", ja="ja")


def test_without_either_nothing_is_taken() -> None:
    none = StampSounds(False, {})
    assert not none.may_need("birds/crow.ogg")
    assert not none.may_need("birds/crow_desc_fr.wav")
    assert none.may_need("birds/crow.png")
