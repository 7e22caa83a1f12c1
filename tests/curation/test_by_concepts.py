"""Curations by concepts on a small world: what is kept, why the rest is not, and that nothing held out is touched."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.alignment import fit_aligner
from pipeline.commands.parser import main
from pipeline.config.concept_curations import ConceptCuration, ConceptList
from pipeline.curation import curate_by_concepts, streamed
from pipeline.curation.publish import export_curation
from pipeline.datasets.tables import IMAGES, TEXTS, text_id, write_table
from pipeline.errors import DataError, FingerprintMismatch
from tests.alignment.toy import ROOT, World

REASONS = {
    "candidate of its concept",
    "drawn",
    "concept full",
    "no candidate of a concept",
    "not drawn",
    "cluster full",
}
KINDS = [{"labels": {"dataset": name, "label": "category"}} for name in ("emoji", "stamps")]


def picture(seed: int) -> bytes:
    """A PNG with a few shapes."""
    generator = np.random.default_rng(seed)
    image = Image.new("RGB", (40, 40), "white")
    for _ in range(4):
        x, y = generator.integers(0, 28, size=2).tolist()
        image.paste(tuple(generator.integers(0, 200, size=3).tolist()), (x, y, x + 12, y + 9))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    made = World(tmp_path).write()
    for name in made.datasets:
        folder, rows, content = tmp_path / "data/index/pairs" / name, [], b""
        for sample in (one for one in made.samples if one["dataset"] == name):
            drawn = picture(len(rows))
            row = {"image_id": sample["image_id"], "modality": "image", "path": "images.bin", "offset": len(content)}
            rows.append(row | {"length": len(drawn), "width": 40, "height": 40})
            content += drawn
        write_table(pa.Table.from_pylist(rows, schema=IMAGES), folder / "images.parquet")
        (folder / "images.bin").write_bytes(content)
        captions = sorted({sample["concept"] for sample in made.samples})
        texts = [{"text_id": text_id(text), "modality": "text", "text": text, "language": "en"} for text in captions]
        write_table(pa.Table.from_pylist(texts, schema=TEXTS), folder / "texts.parquet")
        licence = {"packages": {f"{name}-package": {"version": "1", "licence": "CC0"}}}
        (folder / "about.json").write_text(json.dumps(licence))
    return made


def spec(**changes: Any) -> ConceptCuration:
    plain = {"pool": ("emoji", "stamps"), "view": "vit", "aligner": "none", "images": 40, "concepts": KINDS}
    written = {key: value for key, value in {**plain, **changes}.items() if value is not None}
    return ConceptCuration.model_validate(written, strict=False)


def outcome(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "outcome.parquet").to_pylist()
    return rows


def check(world: World, out: Path, most: int) -> list[dict[str, Any]]:
    """What holds of every curation; returns the rows of the outcome."""
    rows = outcome(out)
    train = {
        (repeat, one["dataset"], one["image_id"])
        for repeat in range(world.repeats)
        for one in world.samples
        if one[f"split_{repeat}"] == "train"
    }
    keys = [(row["repeat"], row["dataset"], row["image_id"]) for row in rows]
    assert len(keys) == len(set(keys))
    assert set(keys) == train  # every train sample has a row, and nothing else has
    assert all(row["reason"] for row in rows)
    kept = sorted((row for row in rows if row["kept"]), key=lambda row: (row["repeat"], row["order"]))
    selected = pq.read_table(out / "selected.parquet").to_pylist()
    assert [(r["repeat"], r["image_id"], r["order"]) for r in kept] == [
        (r["repeat"], r["image_id"], r["order"]) for r in selected
    ]
    for repeat in range(world.repeats):
        assert 0 < sum(row["repeat"] == repeat for row in kept) <= most
    return rows


SPECS: dict[str, dict[str, Any]] = {
    "images against images": {},
    "class texts against captions": {"prototypes": "texts", "against": "captions", "captions": "minilm"},
    "a quota": {"quota": 3},
    "the optimum": {"assignment": "best"},
    "an index": {"retrieval": "index"},
    "no balance": {"balance": "none", "concepts": None},
    "clusters": {"balance": "clusters", "levels": (12, 4), "concepts": None},
    "density": {"balance": "density", "levels": (12,), "concepts": None},
    "a mixture": {"mixture": {"concepts": 3.0, "drawn": 1.0}},
    "all hygiene": {
        "hygiene": {"near": 0.999, "hash_bits": 2, "semantic": 0.995, "semantic_clusters": 4, "words": (1, 5),
                    "language": "en", "repeated": 1000, "decontaminate": ("stamps",)},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SPECS)
def test_every_kind_keeps_train_samples_once_and_the_same_twice(world: World, tmp_path: Path, name: str) -> None:
    asked = spec(**SPECS[name])
    curate_by_concepts(asked, repeats=2, seed=3, out=tmp_path / "one")
    rows = check(world, tmp_path / "one", 40)
    assert {row["reason"] for row in rows} & REASONS
    curate_by_concepts(asked, repeats=2, seed=3, out=tmp_path / "two")
    for file in ("outcome.parquet", "selected.parquet", "coverage.json", "coverage.csv"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.usefixtures("world")
def test_concepts_get_their_quota_and_no_more(tmp_path: Path) -> None:
    curate_by_concepts(spec(quota=3, images=15), repeats=1, seed=0, out=tmp_path / "out")
    kept = [row for row in outcome(tmp_path / "out") if row["kept"]]
    counts = {kind: sum(row["concept"] == kind for row in kept) for kind in {row["concept"] for row in kept}}
    assert counts == {f"kind{number}": 3 for number in range(5)}
    assert all(row["score"] is not None and row["rank"] >= 1 for row in kept)
    coverage = json.loads((tmp_path / "out/coverage.json").read_text())
    assert 0 < coverage["covered"] <= 1
    assert [row["shots"] for row in coverage["concepts"]] == [16] * 5
    assert {row["concept"] for row in coverage["concepts"]} == set(counts)
    assert sum(coverage["reasons"].values()) == len(outcome(tmp_path / "out"))
    assert len(coverage["contact_sheet"]) == 5
    assert len(coverage["contact_sheet"][0]["pictures"]) == 3


def test_held_out_concepts_stay_out_by_label_and_by_caption(world: World, tmp_path: Path) -> None:
    asked = spec(hold_out=("Kind0", "thing7"), images=1000)
    curate_by_concepts(asked, repeats=2, seed=0, out=tmp_path / "out")
    by_id = {(one["dataset"], one["image_id"]): one for one in world.samples}
    for row in check(world, tmp_path / "out", 1000):
        sample = by_id[row["dataset"], row["image_id"]]
        if sample["category"] == "kind0" or sample["concept"] == "thing7":
            assert (row["kept"], row["reason"]) == (False, "held-out concept")
        else:
            assert row["reason"] != "held-out concept"


def test_copies_of_test_pictures_are_dropped_and_named(world: World, tmp_path: Path) -> None:
    """Both styles of a concept are near; a train picture is made a copy of a test picture."""
    from pipeline.features.reader import FeatureStore

    store = FeatureStore.open(tmp_path / "data/features/pairs/vit/stamps")
    of_split = {
        split: next(s["image_id"] for s in world.samples if s["dataset"] == "stamps" and s["split_0"] == split)
        for split in ("train", "test")
    }
    rows = store.rows([of_split["train"], of_split["test"]])
    import zarr

    array = zarr.open_array(str(store.folder / "cls"), mode="r+")
    array[int(rows[0])] = array[int(rows[1])]
    asked = spec(hygiene={"near": 0.9999, "decontaminate": ("stamps",)}, images=1000)
    curate_by_concepts(asked, repeats=1, seed=0, out=tmp_path / "out")
    row = next(r for r in outcome(tmp_path / "out") if r["image_id"] == of_split["train"])
    assert (row["kept"], row["reason"], row["detail"]) == (False, "evaluation picture of stamps", of_split["test"])


def test_captions_of_an_evaluation_are_dropped_and_named(world: World, tmp_path: Path) -> None:
    """Of a data set outside the pool all captions count, not those of its test pictures alone."""
    path = tmp_path / "data/index/pairs/emoji/texts.parquet"
    rows = pq.read_table(path).to_pylist()
    two = sorted({one["concept"] for one in world.samples if one["split_0"] == "train"})[:2]
    for row in rows:  # the same ids as the pool's, other words but for two
        row["text"] = f"{row['text'].upper()}!" if row["text"] in two else f"other {row['text']}"
    write_table(pa.Table.from_pylist(rows, schema=TEXTS), path)
    asked = spec(
        pool=("stamps",), concepts=KINDS[1:], hygiene={"decontaminate": ("emoji",), "same_caption": True}, images=1000
    )
    curate_by_concepts(asked, repeats=2, seed=0, out=tmp_path / "out")
    concepts = {one["image_id"]: one["concept"] for one in world.samples if one["dataset"] == "stamps"}
    dropped = {
        (concepts[row["image_id"]], row["detail"])
        for row in outcome(tmp_path / "out")
        if row["reason"] == "evaluation caption of emoji"
    }
    assert dropped == {(concept, concept) for concept in two}
    assert len(outcome(tmp_path / "out")) > 100


@pytest.mark.usefixtures("world")
def test_keywords_and_files_name_concepts_by_caption(tmp_path: Path) -> None:
    (tmp_path / "concepts").mkdir()
    (tmp_path / "concepts/mine.txt").write_text("# a comment\n\nthing3\nnothing like it\n")
    asked = spec(concepts=({"file": "mine.txt"}, {"keywords": ("THING3", "thing5")}), images=1000)
    said = curate_by_concepts(asked, repeats=1, seed=0, out=tmp_path / "out")
    assert "Left out, as no sample has them: 1 concepts, such as nothing like it" in said
    coverage = json.loads((tmp_path / "out/coverage.json").read_text())
    names = [row["concept"] for row in coverage["concepts"]]
    assert names == [name for name in ("thing3", "thing5") if name in names]
    assert names
    with pytest.raises(DataError, match=r"concepts/absent.txt cannot be read"):
        curate_by_concepts(spec(concepts=({"file": "absent.txt"},)), repeats=1, seed=0, out=tmp_path / "x")


@pytest.mark.usefixtures("world")
def test_hygiene_that_leaves_nothing_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"leaves nothing of \d+ samples of repeat 0: \d+ repeated caption"):
        curate_by_concepts(spec(hygiene={"repeated": 3}), repeats=1, seed=0, out=tmp_path / "out")


@pytest.mark.usefixtures("world")
def test_a_cap_keeps_what_is_named_rarely(tmp_path: Path) -> None:
    names = tuple(f"thing{number}" for number in range(60))
    asked = spec(balance="none", concepts=({"keywords": names},), cap=1, images=1000)
    curate_by_concepts(asked, repeats=1, seed=0, out=tmp_path / "out")
    rows = outcome(tmp_path / "out")
    reasons = {row["reason"] for row in rows}
    assert {"over the cap of its concepts", "caption names no concept", "drawn"} <= reasons
    texts = [row["text_id"] for row in rows if row["kept"]]
    assert len(texts) == len(set(texts))  # one of each


@pytest.mark.usefixtures("world")
def test_class_texts_of_unknown_concepts_are_asked_for(tmp_path: Path) -> None:
    asked = spec(prototypes="texts", against="captions", captions="minilm", concepts=({"keywords": ("unicorn",)},))
    with pytest.raises(DataError, match=r"1 of 1 concepts have no stored class text, the first 'unicorn'"):
        curate_by_concepts(asked, repeats=1, seed=0, out=tmp_path / "out")


def test_a_selection_is_exported_as_a_data_set(world: World, tmp_path: Path) -> None:
    curate_by_concepts(spec(images=12), repeats=2, seed=0, out=tmp_path / "data/curation/rich")
    kept = [r for r in outcome(tmp_path / "data/curation/rich") if r["kept"] and r["repeat"] == 1]
    kept.sort(key=lambda row: row["order"])
    addresses = {"id": [row["image_id"] for row in kept[:5]], "url": [f"https://example.org/{i}.jpg" for i in range(5)]}
    pq.write_table(pa.table(addresses), tmp_path / "urls.parquet")
    done = export_curation("rich", tmp_path / "out", repeat=1, urls=tmp_path / "urls.parquet")
    assert done == {"samples": 12, "pictures": 12, "urls": 5}
    samples = pq.read_table(tmp_path / "out/samples.parquet").to_pylist()
    assert [row["image_id"] for row in samples] == [row["image_id"] for row in kept]
    by_id = {one["image_id"]: one["concept"] for one in world.samples}
    assert all(row["caption"] == by_id[row["image_id"]] for row in samples)
    urls = pq.read_table(tmp_path / "out/urls.parquet").to_pylist()
    assert [row["url"] for row in urls] == addresses["url"]
    assert all(row["caption"] for row in urls)
    with tarfile.open(tmp_path / "out/shards/00000.tar") as shard:
        names = shard.getnames()
        first = names[0].partition(".")[0]
        assert names[:3] == [f"{first}.png", f"{first}.txt", f"{first}.json"]
        assert len(names) == 36
        content = shard.extractfile(f"{first}.png")
        assert content is not None
        assert Image.open(io.BytesIO(content.read())).size == (40, 40)
    card = (tmp_path / "out/README.md").read_text()
    assert "stamps-package 1: CC0" in card
    assert "img2dataset" in card
    again = export_curation("rich", tmp_path / "again", repeat=1, urls=tmp_path / "urls.parquet")
    assert again == done
    assert (tmp_path / "again/shards/00000.tar").read_bytes() == (tmp_path / "out/shards/00000.tar").read_bytes()
    with pytest.raises(DataError, match="is not empty"):
        export_curation("rich", tmp_path / "out")
    with pytest.raises(DataError, match="No outcome at"):
        export_curation("absent", tmp_path / "new")
    with pytest.raises(DataError, match="keeps nothing for repeat 7"):
        export_curation("rich", tmp_path / "new", repeat=7)


@pytest.mark.usefixtures("world")
def test_the_command_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curate_by_concepts(spec(images=5), repeats=1, seed=0, out=tmp_path / "data/curation/rich")
    assert main(["export", "curation", "rich", "out", "--no-pictures", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": "out", "samples": 5, "pictures": 0, "urls": 0}
    assert not (tmp_path / "out/shards").exists() or not any((tmp_path / "out/shards").iterdir())


def exchange_captions(world: World) -> set[str]:
    """Exchange the captions of half of the train pictures of repeat 0; returns the ids of those pictures."""
    train = [one["image_id"] for one in world.samples if one["split_0"] == "train"]
    generator = np.random.default_rng(0)
    wrong = sorted(generator.permutation(train)[: len(train) // 2].tolist())
    own = {pair["image_id"]: pair["text_id"] for pair in world.pairs if pair["language"] == "en"}
    texts = generator.permutation([own[one] for one in wrong]).tolist()
    exchanged = dict(zip(wrong, texts, strict=True))
    for pair in world.pairs:
        if pair["language"] == "en":
            pair["text_id"] = exchanged.get(pair["image_id"], pair["text_id"])
    world.rewrite_pairs(world.pairs)
    return {one for one in wrong if exchanged[one] != own[one]}


SHARED: dict[str, dict[str, Any]] = {
    "images against captions, as in the paper": {"against": "captions"},
    "texts against images": {"prototypes": "texts"},
    "both against captions": {"prototypes": "both", "against": "captions"},
}


@pytest.fixture
def aligned(world: World) -> World:
    """With an aligner of both views."""
    fit_aligner(world.config().settings("train", "default"))  # type: ignore[arg-type]
    return world


@pytest.mark.parametrize("name", SHARED)
def test_concepts_are_found_across_pictures_and_captions(aligned: World, tmp_path: Path, name: str) -> None:
    names = ConceptList(keywords=tuple(f"thing{number}" for number in range(0, 60, 5)))
    asked = spec(aligner="default", captions="minilm", quota=2, images=20, shots=3, **SHARED[name])
    asked = asked.model_copy(update={"concepts": (names,)})
    for out in ("one", "two"):
        curate_by_concepts(asked, repeats=2, seed=0, out=tmp_path / out)
    assert (tmp_path / "one/outcome.parquet").read_bytes() == (tmp_path / "two/outcome.parquet").read_bytes()
    by_id = {one["image_id"]: one["concept"] for one in aligned.samples}
    best = [row for row in check(aligned, tmp_path / "one", 20) if row["kept"] and row["rank"] == 1]
    assert best
    assert np.mean([by_id[row["image_id"]] == row["concept"] for row in best]) >= 0.5  # of 80 concepts in train


def test_captions_unlike_their_picture_are_mostly_the_exchanged_ones(aligned: World, tmp_path: Path) -> None:
    wrong = exchange_captions(aligned)
    plain = {"aligner": "default", "captions": "minilm", "images": 1000, "balance": "none", "concepts": None}
    curate_by_concepts(spec(**plain, hygiene={"worst": 0.4}), repeats=1, seed=0, out=tmp_path / "out")
    rows = outcome(tmp_path / "out")
    dropped = [row["image_id"] in wrong for row in rows if row["reason"] == "caption unlike picture"]
    kept = [row["image_id"] in wrong for row in rows if row["kept"]]
    assert np.mean(dropped) > 0.8
    assert np.mean(kept) < 0.35
    curate_by_concepts(spec(**plain, hygiene={"floor": 0.5}), repeats=1, seed=0, out=tmp_path / "floor")
    details = [float(row["detail"]) for row in outcome(tmp_path / "floor") if row["reason"] == "caption unlike picture"]
    assert details
    assert max(details) < 0.5


@pytest.mark.usefixtures("aligned")
def test_an_aligner_of_other_features_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FingerprintMismatch, match="Name its own views, vit and minilm"):
        curate_by_concepts(spec(aligner="default", view="control"), repeats=1, seed=0, out=tmp_path / "out")


@pytest.mark.long
@pytest.mark.usefixtures("world")
def test_ray_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is an extra: pip install -e '.[ray]'")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(streamed, "_MOST_BLOCK", 16)  # several tasks
    for engine in ("local", "ray"):
        curate_by_concepts(spec(engine=engine), repeats=1, seed=0, out=tmp_path / engine)
    for file in ("outcome.parquet", "selected.parquet", "coverage.json"):
        assert (tmp_path / "local" / file).read_bytes() == (tmp_path / "ray" / file).read_bytes()
