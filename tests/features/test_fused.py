"""Stores joined by id: features side by side as by hand, rows that one of them lacks, and what cannot be joined."""

import logging
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DataError, MissingRows, StoreError
from pipeline.features import FeatureStore
from pipeline.features.fused import FusedStore, fused_fingerprint, member_fingerprints, side_by_side
from pipeline.features.views import open_side
from pipeline.paths import store_folder
from tests.alignment.toy import write_store

ROWS = 9
RNG = np.random.default_rng(0)
WIDE = {"cls": RNG.normal(size=(ROWS, 3, 5)).astype("float16"), "mean": RNG.normal(size=(ROWS, 3, 5)).astype("float16")}
NARROW = {
    "cls": RNG.normal(size=(ROWS, 1, 2)).astype("float32"),
    "mean": RNG.normal(size=(ROWS, 2)).astype("float32"),
    "grid": RNG.normal(size=(ROWS, 4, 2)).astype("float32"),
}
IDS = [f"id{row}" for row in range(ROWS)]


def fused(ids: list[str] = IDS, bad: tuple[str, ...] = ()) -> FusedStore:
    """View `wide` in the order of `IDS`, beside view `narrow` in that of `ids`, as an aligner opens them."""
    write_store(store_folder("pairs", "wide", "mine"), IDS, WIDE, "digest-wide")
    write_store(store_folder("pairs", "narrow", "mine"), ids, NARROW, "digest-narrow", bad)
    store = open_side("both", ("wide", "narrow"), ["mine"])["mine"]
    assert isinstance(store, FusedStore)
    return store


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["cls", "mean"])
@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_features_stand_side_by_side_by_id(name: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.features.fused._PIECE_BYTES", piece)
    order = RNG.permutation(ROWS)
    store = fused([IDS[row] for row in order])
    place = np.argsort(order)
    narrow = NARROW[name].reshape(ROWS, 2)
    expected = np.concatenate([WIDE[name][:, -1].astype("float32"), narrow[place]], axis=1)
    asked = RNG.permutation(ROWS)[:6]
    np.testing.assert_array_equal(store.read(name, [IDS[row] for row in asked]), expected[asked])
    np.testing.assert_array_equal(store.array(name).read_range(2, 7), expected[2:7])
    out = np.empty((3, 7), np.float32)
    assert store.array(name).take(np.array([8, 0, 8]), out) is out
    np.testing.assert_array_equal(out, expected[[8, 0, 8]])
    assert (store.shape(name), store.array(name).dtype, len(store)) == ((ROWS, 7), np.float32, ROWS)
    assert store.widths == (5, 2)
    assert store.names == ("cls", "mean"), "regions are of one of them alone"


def test_rows_that_one_store_lacks_or_could_not_encode_are_named_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    store = fused([*IDS[:7], "id97", "id98"], bad=("id3",))
    assert store.valid.tolist() == [row not in (3, 7, 8) for row in range(ROWS)] + [False, False]
    with caplog.at_level(logging.WARNING):
        mask = store.servable(IDS)
    assert mask.tolist() == store.valid[:ROWS].tolist()
    assert "mine through view both: 3 of 9 rows" in caplog.text
    assert "the first 'id3': unreadable (view 'narrow')" in caplog.text
    assert store.reasons["id8"] == "view 'narrow' has no such row"
    assert store.reasons["id97"] == "view 'wide' has no such row"
    assert dict(store.reasons).keys() == {"id3", "id7", "id8", "id97", "id98"}
    assert len(store.reasons) == 5
    assert "id1" not in store.reasons
    assert "nowhere" not in store.reasons
    with pytest.raises(MissingRows, match=r"could not be encoded, the first 'id7': view 'narrow' has no such row"):
        store.read("cls", ["id1", "id7"])
    assert store.holds(["id3", "id7", "id98", "nowhere"]).tolist() == [True, False, False, False]
    with pytest.raises(DataError, match="lacks 1 of 2 ids that data/splits names, the first 'nowhere'"):
        store.servable(["id1", "nowhere"])
    whole = store.array("mean").read_range(0, len(store))
    assert not whole[7, 5:].any(), "what a store lacks is zeros, and never served by id"
    np.testing.assert_array_equal(whole[7, :5], WIDE["mean"][7, -1].astype("float32"))


def test_regions_of_one_grid_stand_side_by_side() -> None:
    for view, width in (("left", 3), ("right", 2)):
        grid = RNG.normal(size=(ROWS, 4, width)).astype("float16")
        write_store(store_folder("pairs", view, "mine"), IDS, {"cls": grid[:, :1], "grid": grid}, f"digest-{view}")
    store = open_side("both", ("left", "right"), ["mine"])["mine"]
    parts = [FeatureStore.open(store_folder("pairs", view, "mine")).read("grid", IDS) for view in ("left", "right")]
    np.testing.assert_array_equal(store.read("grid", IDS), np.concatenate(parts, axis=-1))


@pytest.mark.parametrize("name", ["grid", "patch", "pooled"])
def test_what_cannot_stand_side_by_side_is_refused(name: str) -> None:
    store = fused()
    with pytest.raises(StoreError, match=rf"'both' has cls, mean, not '{name}' \(wide holds cls, mean; narrow holds"):
        store.array(name)


def test_tokens_of_texts_are_refused() -> None:
    with pytest.raises(StoreError, match="'tokens' of the fused view 'both' cannot be joined.*text_tokens: pooled"):
        fused().ragged("tokens")


def test_the_digest_is_that_of_the_members_in_their_order() -> None:
    wide, narrow = {"digest": "a", "compared": {}}, {"digest": "b", "compared": {}}
    one = fused_fingerprint({"wide": wide, "narrow": narrow})
    assert one["digest"] == fused_fingerprint({"w": wide, "n": narrow})["digest"], "whatever they are called"
    assert one["digest"] != fused_fingerprint({"narrow": narrow, "wide": wide})["digest"]
    assert one["digest"] != fused_fingerprint({"wide": wide, "narrow": {"digest": "c"}})["digest"]
    assert member_fingerprints(one, "both") == {"wide": wide, "narrow": narrow}
    assert member_fingerprints(wide, "wide") == {"wide": wide}
    with pytest.raises(ValueError, match="members of view both do not have its digest"):
        member_fingerprints(one | {"members": {"wide": wide, "narrow": wide}}, "both")


def test_arrays_just_made_are_joined_as_stored_ones_are() -> None:
    store = fused()
    for name in ("cls", "mean"):
        np.testing.assert_array_equal(side_by_side(name, [WIDE[name], NARROW[name]]), store.read(name, IDS))


def test_a_fusion_names_the_stores_it_read() -> None:
    opened = fused().opened
    assert [place.parent.name for place, _ in opened] == ["wide", "narrow"]
