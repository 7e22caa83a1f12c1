"""Stores with a `url`: encoded and published, taken where they are published, searched and trained on from afar."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.alignment import fit_aligner
from pipeline.commands.parser import main as permafrost
from pipeline.config import EncoderSpec, EncodeSettings, ImageView, StoreSpec, TrainParams
from pipeline.config.load import validate
from pipeline.encoding.run import StoreEncoder
from pipeline.errors import ConfigError, DataError, FingerprintMismatch, StoreError
from pipeline.features import ArraySpec, FeatureStore, Fingerprint
from pipeline.features.manifest import read_manifest
from pipeline.features.objects.cache import FOLDER_VARIABLE
from pipeline.features.objects.pointer import POINTER, point
from pipeline.features.objects.push import push
from pipeline.features.publish import publish
from pipeline.features.shards import ShardWriter
from pipeline.paths import MODELS, WORK_VARIABLE, store_folder
from pipeline.store.needs import needs_of
from stages.encode import encode
from tests.alignment.specs import fit_of, settings_of, trained
from tests.alignment.toy import World
from tests.inference.conftest import PARAMS, Project, aligner
from tests.objects.conftest import objects
from tests.objects.faulty import Faulty

OUT = store_folder("pairs", "grid", "mine")


@pytest.fixture
def copied(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> Project:
    """A copy of the project without its stores, with the working directory in it; `address` has set the rest."""
    del address
    shutil.copytree(project.root, tmp_path / "project", ignore=shutil.ignore_patterns("features", "work"))
    monkeypatch.chdir(tmp_path / "project")
    return Project(tmp_path / "project")


def settings(project: Project, url: str | None, resolution: int = 42) -> EncodeSettings:
    """Those of the stage of the store `grid` of the project."""
    eye = EncoderSpec(
        modality="image", source="local", model=str(project.root / "eye"), loader="transformers", layers=(1, 2)
    )
    view = ImageView(encoder="eye", resolution=resolution, tier="grid", grid=2)
    store = StoreSpec(group="pairs", dataset="mine", view="grid", encoder="eye", url=url)
    return EncodeSettings(name="mine-grid", store=store, view=view, encoder=eye, encode=PARAMS)


def another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of what was encoded or downloaded here is known any more."""
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "other-work"))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "other-objects"))
    shutil.rmtree("data/features", ignore_errors=True)


def test_a_stage_publishes_what_it_encodes_and_keeps_its_metadata(
    copied: Project, project: Project, address: str, faulty: Faulty
) -> None:
    encode(settings(copied, f"{address}/features/grid"))
    assert not [path for path in OUT.rglob("*") if "/c/" in path.as_posix()]
    store, original = FeatureStore.open(OUT), project.store("grid")
    assert (store.source, store.fingerprint) == (f"{address}/features/grid", original.fingerprint)
    for name in original.names:
        np.testing.assert_array_equal(store.read(name, original.ids), original.read(name, original.ids))
    assert read_manifest(OUT) == read_manifest(project.store("grid").folder)
    manifest = read_manifest(OUT)
    assert manifest is not None
    assert {name.removeprefix("features/grid/") for name in objects(faulty, address)} == {
        *manifest.files, "manifest.json",
    }  # fmt: skip
    assert needs_of(OUT).keys == frozenset()  # gc may free its shards in scratch


def test_where_it_is_published_it_is_taken_without_an_encoder_and_without_shards(
    copied: Project, address: str, faulty: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(settings(copied, f"{address}/features/grid"))
    before = {path.relative_to(OUT): path.read_bytes() for path in OUT.rglob("*") if path.is_file()}
    another_machine(tmp_path, monkeypatch)
    monkeypatch.setattr(StoreEncoder, "run", lambda *_: pytest.fail("it was encoded"))
    faulty.asked.clear()
    encode(settings(copied, f"{address}/features/grid"))
    assert not faulty.shards()
    assert {path.relative_to(OUT): path.read_bytes() for path in OUT.rglob("*") if path.is_file()} == before


def test_a_stage_refuses_what_is_published_of_other_features_or_rows_and_leaves_it_alone(
    copied: Project, address: str, faulty: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{address}/features/grid"
    encode(settings(copied, url))
    another_machine(tmp_path, monkeypatch)
    faulty.asked.clear()
    with pytest.raises(FingerprintMismatch, match="resolution: found 42, expected 70"):
        encode(settings(copied, url, resolution=70))
    assert not faulty.shards()
    table = Path("data/index/pairs/mine/images.parquet")
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(table).slice(1), table)
    with pytest.raises(StoreError, match=r"holds 10 rows, the index names 9, .*another `url`"):
        encode(settings(copied, url))
    assert not faulty.shards()
    assert not faulty.shards("PUT")
    assert not OUT.exists()


def test_a_search_from_afar_finds_what_one_in_the_folder_finds(
    project: Project, address: str, faulty: Faulty, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{address}/features/grid"
    push(project.store("grid").folder, url)
    model = aligner(project)
    for query in ("a guitar", project.pictures[3]):
        assert model.search(url, query, k=4) == aligner(project).search(project.store("grid"), query, k=4)
    assert faulty.shards()
    capsys.readouterr()
    assert permafrost(["search", str(project.model("grid")), "a guitar", "--in", url, "-k", "4", "--json"]) == 0
    found = [(one["id"], one["score"]) for one in json.loads(capsys.readouterr().out)]
    assert found == model.search(url, "a guitar", k=4)
    with pytest.raises(DataError, match="has no index"):
        model.search(url, "a guitar", where={"concept": "guitar"})


def test_a_search_of_a_store_of_another_view_is_refused_before_its_shards_move(
    project: Project, address: str, faulty: Faulty
) -> None:
    url = f"{address}/features/patch"
    push(project.store("patch").folder, url)
    faulty.asked.clear()
    with pytest.raises(FingerprintMismatch, match=f"{url} holds other features than aligner 'grid'"):
        aligner(project).search(url, "a guitar")
    assert not faulty.shards()


def republish(folder: Path) -> None:
    """Write a store of the toy world as the encode loop does, with a manifest."""
    store = FeatureStore.open(folder)
    values = {name: store.array(name).read_range(0, len(store)) for name in store.names}
    specs = [ArraySpec(name, array.shape[1:], array.dtype.name) for name, array in values.items()]
    ids, shards = store.ids.tolist(), []
    for start in range(0, len(ids), 32):
        with ShardWriter(folder.parent / ".scratch", specs, ids[start : start + 32], 32) as writer:
            some = {name: array[start : start + 32] for name, array in values.items()}
            writer.append(some, [None] * len(ids[start : start + 32]))
            shards.append(writer.finish())
    publish(folder, Fingerprint({"view": folder.parent.name}), specs, shards, 32, {})
    shutil.rmtree(folder.parent / ".scratch")


def weights() -> dict[str, bytes]:
    found = {str(path): path.read_bytes() for path in MODELS.rglob("*.safetensors")}
    assert found
    shutil.rmtree(MODELS)
    return found


@pytest.mark.parametrize("features", ["auto", "stream"])
def test_heads_that_are_fitted_from_afar_have_the_same_weights(
    features: Any, address: str, faulty: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    world = World(tmp_path, families=16, concepts_per_family=2).write()
    params = TrainParams(epochs=2, min_steps=0, batch_size=64, warmup_steps=2, device="cpu", features=features)
    stores = [store_folder("pairs", view, dataset) for view in ("vit", "minilm") for dataset in world.datasets]
    for store in stores:
        republish(store)
    job = settings_of(fit_of(trained(embed_dim=6)), params)
    fit_aligner(job)
    here = weights()
    for store in stores:
        url = f"{address}/{store.parent.name}/{store.name}"
        push(store, url)
        point(store, url)
        assert (store / POINTER).is_file()
    assert not [*Path("data/features/pairs/vit").rglob("c/*")]
    fit_aligner(job)
    assert weights() == here
    assert faulty.shards()


@pytest.mark.parametrize("url", ["s3://bucket", "http://host/x", "bucket/features", "s3://bucket/x?secret=1"])
def test_a_url_that_is_no_address_is_refused_in_params(url: str) -> None:
    with pytest.raises(ConfigError, match=r"stores\.pairs\.mine\.url"):
        validate(with_store(url))


def with_store(url: str | None) -> dict[str, Any]:
    store = {"dataset": "mine", "view": "vit", "encoder": "vit"} | ({} if url is None else {"url": url})
    return {
        "encoders": {"vit": {"modality": "image", "source": "hub", "model": "facebook/dinov2-small", "loader":
            "transformers"}},
        "views": {"vit": {"encoder": "vit", "resolution": 224}},
        "datasets": {"mine": {"source": "folder", "path": "pictures"}},
        "stores": {"pairs": {"mine": store}},
    }  # fmt: skip


def test_a_url_is_written_out_where_one_is_given_and_the_settings_of_others_stay_as_they_are() -> None:
    plain = validate(with_store(None)).stores.pairs["mine"].model_dump()
    assert plain == {"dataset": "mine", "view": "vit", "encoder": "vit"}
    given = validate(with_store("s3://bucket/features/mine/")).stores.pairs["mine"].model_dump()
    assert given == plain | {"url": "s3://bucket/features/mine"}
