"""Sounds are split with the families of pictures, and move none; where there are no pictures they are split alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import SplitsParams
from pipeline.datasets.audio.decode import SoundInfo
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.concepts import concept_key
from pipeline.datasets.further import samples_schema, schemas
from pipeline.datasets.splits import build_splits
from pipeline.datasets.tables import media_id, read_table
from tests.datasets.conftest import picture

PARAMS = SplitsParams(repeats=3, validation=0.2, test=0.3, largest_family=0.3, development=0.0)
INFO = SoundInfo(16_000, 16_000, 1, "wav")
NAMES = [f"{letter}zot" for letter in "abcdefghijklmnopqrstuvwxyz"]


def sound(name: str) -> str:
    return media_id(f"sound {name}".encode())


def index(
    root: Path,
    dataset: str,
    pictures: Sequence[str] = (),
    sounds: Sequence[str] = (),
    split: dict[str, str] | None = None,
    transfer: bool = False,
    owners: dict[str, Sequence[str]] | None = None,
) -> Path:
    """An index with a picture, or a sound, per name; a sound belongs to the picture of its name, or to its owners."""
    folder = root / dataset
    splits = split or {}
    with IndexBuilder(folder) as builder:
        images = {}
        for number, name in enumerate(pictures):
            images[name] = builder.add_image(picture(1000 * len(dataset) + number), name)
            builder.label(images[name], concept_key(name), name, split=splits.get(name))
            builder.link(images[name], builder.add_text(name, "en"), "en")
        for name in sounds:
            identity = sound(f"{dataset} {name}")
            builder.sounds.refer(identity, f"/{name}.wav", INFO, name, "effect" if name in images else "sound")
            builder.sounds.label(identity, concept_key(name), name, split=splits.get(name))
            for owner in (owners or {}).get(name, [name]):
                if owner in images:
                    builder.sounds.belongs(identity, images[owner])
                builder.sounds.link(identity, builder.add_text(owner, "en"), "en")
        builder.finish({"source": "made", "transfer": transfer})
    return folder


def built(
    folders: dict[str, Path], out: Path, params: SplitsParams = PARAMS
) -> tuple[dict[str, Any], dict[str, bytes]]:
    summary = build_splits(folders, params, 0, out)
    return summary, {path.name: path.read_bytes() for path in out.iterdir()}


def by_name(out: Path, table: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["dataset"], row["concept"]): row for row in read_table(out / f"{table}.parquet").to_pylist()}


def test_sounds_follow_their_family_and_move_no_picture(tmp_path: Path) -> None:
    silent = {"seen": index(tmp_path / "one", "seen", NAMES)}
    _, before = built(silent, tmp_path / "before")
    heard = {"seen": index(tmp_path / "two", "seen", NAMES, NAMES[:20])}
    summary, after = built(heard, tmp_path / "after")
    assert {"samples.parquet", "pairs.parquet", "summary.json"} == set(before)
    assert set(after) - set(before) == {"audio_samples.parquet", "audio_pairs.parquet", "audio_images.parquet"}
    assert {name: after[name] for name in ("samples.parquet", "pairs.parquet")} == {
        name: before[name] for name in ("samples.parquet", "pairs.parquet")
    }
    seen = by_name(tmp_path / "after", "samples")
    ours = by_name(tmp_path / "after", "audio_samples")
    assert len(ours) == 20
    for key, row in ours.items():
        same = ("concept", "classname", "category", "family", "development", "split_0", "split_1", "split_2")
        assert {name: row[name] for name in same} == {name: seen[key][name] for name in same}
        assert (row["kind"], row["language"]) == ("effect", None)
    assert set(summary["shares"]) == {"seen", "seen, sounds"}


def test_the_tables_have_their_columns(tmp_path: Path) -> None:
    out = tmp_path / "out"
    built({"seen": index(tmp_path, "seen", NAMES, NAMES[:3])}, out)
    samples = read_table(out / "audio_samples.parquet").schema
    told = samples_schema("audio")
    assert list(samples)[: len(told)] == list(told)
    assert samples.names[len(told) :] == ["split_0", "split_1", "split_2"]
    for name, schema in ((name, schemas("audio")[name]) for name in ("audio_pairs", "audio_images")):
        table = read_table(out / f"{name}.parquet")
        assert table.schema.names == ["dataset", *schema.names]
        assert len(table) == 3


def test_a_shared_recording_joins_no_families(tmp_path: Path) -> None:
    owners = {NAMES[0]: [NAMES[0], NAMES[1], NAMES[2]]}
    summary, _ = built({"seen": index(tmp_path, "seen", NAMES, NAMES[:1], owners=owners)}, tmp_path / "out")
    assert summary["families"] == len(NAMES)
    assert len(read_table(tmp_path / "out" / "audio_images.parquet")) == 3


def test_sounds_alone_are_split_by_family_to_their_shares(tmp_path: Path) -> None:
    summary, files = built({"heard": index(tmp_path, "heard", (), NAMES)}, tmp_path / "out")
    assert len(read_table(tmp_path / "out" / "samples.parquet")) == 0
    assert summary["shares"] == {"heard, sounds": summary["shares"]["heard, sounds"]}
    for split, share in (("test", 0.3), ("validation", 0.2)):
        assert all(abs(found - share) < 0.05 for found in summary["shares"]["heard, sounds"][split])
    again, _ = built({"heard": index(tmp_path / "again", "heard", (), NAMES)}, tmp_path / "out2")
    assert again == summary
    assert (tmp_path / "out2" / "audio_samples.parquet").read_bytes() == files["audio_samples.parquet"]


def test_a_family_is_held_out_in_both_modalities_of_different_data_sets(tmp_path: Path) -> None:
    folders = {"seen": index(tmp_path, "seen", NAMES[:20]), "heard": index(tmp_path, "heard", (), NAMES[5:])}
    built(folders, tmp_path / "out")
    seen = {key[1]: row for key, row in by_name(tmp_path / "out", "samples").items()}
    ours = {key[1]: row for key, row in by_name(tmp_path / "out", "audio_samples").items()}
    shared = seen.keys() & ours.keys()
    assert len(shared) == 15
    for concept in shared:
        assert [seen[concept][f"split_{r}"] for r in range(3)] == [ours[concept][f"split_{r}"] for r in range(3)]


def test_a_split_of_its_own_is_kept(tmp_path: Path) -> None:
    own = {name: ("test", "train", "train", "validation")[number % 4] for number, name in enumerate(NAMES)}
    built({"heard": index(tmp_path, "heard", (), NAMES, split=own)}, tmp_path / "out")
    for (_, concept), row in by_name(tmp_path / "out", "audio_samples").items():
        assert {row[f"split_{repeat}"] for repeat in range(3)} == {own[concept]}


def test_transfer_is_tested_everywhere(tmp_path: Path) -> None:
    folders = {
        "seen": index(tmp_path, "seen", NAMES),
        "esc": index(tmp_path, "esc", (), NAMES[:5], transfer=True),
    }
    built(folders, tmp_path / "out")
    rows = read_table(tmp_path / "out" / "audio_samples.parquet").to_pylist()
    assert {row[f"split_{repeat}"] for row in rows for repeat in range(3)} == {"test"}
    assert rows[0]["family"] == f"esc: {concept_key(NAMES[0])}"


def test_nothing_at_all(tmp_path: Path) -> None:
    from pipeline.errors import DataError

    with pytest.raises(DataError, match="No data set holds an image or another sample \\(looked at: none\\)"):
        built({"none": index(tmp_path, "none")}, tmp_path / "out")
