import logging
import shutil

import numpy as np
import pytest
import torch

from pipeline.alignment.data.load import AlignmentData, load_alignment_data
from pipeline.alignment.data.resident import ResidentFeatures
from pipeline.config import FitSpec
from pipeline.datasets.caption_pairs import read_caption_pairs
from pipeline.errors import DataError, FingerprintMismatch
from pipeline.features import FeatureStore
from pipeline.paths import store_folder
from tests.alignment.specs import fit_of, trained
from tests.alignment.toy import GRID, VISION, World, write_store

FIT = fit_of()


def load(fit: FitSpec = FIT) -> AlignmentData:
    return load_alignment_data("default", fit, 2, torch.device("cpu"))


def resident(data: AlignmentData) -> ResidentFeatures:
    assert isinstance(data.features, ResidentFeatures)
    return data.features


@pytest.mark.usefixtures("world")
def test_pairs_are_joined_by_id_and_by_split() -> None:
    data = load()
    pairs = read_caption_pairs(("emoji", "stamps"), 2)
    for repeat, rows in enumerate(data.train):
        expected = pairs.of(repeat, "train")
        assert len(rows) == len(expected)
        for (image, text), dataset, image_id, text_id in zip(
            rows.tolist(), expected.dataset, expected.image_id, expected.text_id, strict=True
        ):
            store = FeatureStore.open(store_folder("pairs", "vit", dataset))
            np.testing.assert_array_equal(
                resident(data).images.inputs.cls[image].numpy(), store.read("cls", [image_id])[0, -1]
            )
            np.testing.assert_array_equal(
                resident(data).images.inputs.local[image].numpy(), store.read("grid", [image_id])[0]
            )
            captions = FeatureStore.open(store_folder("pairs", "minilm", "emoji"))  # the first that holds the string
            np.testing.assert_array_equal(
                resident(data).texts.inputs.tokens[text, 0].numpy(), captions.read("pooled", [text_id])[0]
            )


@pytest.mark.usefixtures("world")
def test_a_caption_of_two_data_sets_is_one_row() -> None:
    data = load()
    assert len(resident(data).texts.inputs) == 32
    assert len(resident(data).images.inputs) == 2 * 2 * 32
    assert {side: fingerprint["digest"] for side, fingerprint in data.fingerprints.items()} == {
        "image": "digest-vit",
        "text": "digest-minilm",
    }


@pytest.mark.usefixtures("world")
def test_splits_do_not_meet() -> None:
    data = load()
    for train, validation in zip(data.train, data.validation, strict=True):
        assert not set(train[:, 0].tolist()) & set(validation[:, 0].tolist())
        assert not set(train[:, 1].tolist()) & set(validation[:, 1].tolist())


def test_other_languages_are_not_trained_on(world: World) -> None:
    world.rewrite_pairs([pair | {"language": "de"} for pair in world.pairs])
    with pytest.raises(DataError, match="nothing to train on"):
        load()


@pytest.mark.usefixtures("world")
def test_local_tokens_as_one_mean_and_tokens_that_are_not_stored() -> None:
    assert resident(load()).images.inputs.local.shape[1:] == (GRID, VISION)
    mean = load(fit_of(trained(local_tokens="mean")))
    assert resident(mean).images.inputs.local.shape[1:] == (1, VISION)
    with pytest.raises(DataError, match=r"needs the array 'patch'.*cls, mean, grid"):
        load(fit_of(trained(local_tokens="patch")))


def test_an_empty_data_set_is_left_out_with_a_warning(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.rewrite_pairs([pair for pair in world.pairs if pair["dataset"] == "emoji"])
    shutil.rmtree(store_folder("pairs", "vit", "stamps"))
    with caplog.at_level(logging.WARNING):
        data = load()
    assert data.datasets == ("emoji",)
    assert "stamps has no captions in en" in caplog.text


@pytest.mark.usefixtures("world")
def test_a_store_that_lacks_ids_is_refused() -> None:
    folder = store_folder("pairs", "minilm", "emoji")
    shutil.rmtree(folder)
    write_store(folder, ["other"], {"pooled": np.zeros((1, 16), dtype=np.float16)}, "digest-minilm")
    with pytest.raises(DataError, match=r"emoji through view minilm lacks 64 of 64 ids.*dvc repro"):
        load()


def test_samples_that_could_not_be_encoded_are_left_out(world: World, caplog: pytest.LogCaptureFixture) -> None:
    before = sum(len(part) for part in (*load().train, *load().validation))
    bad = next(s["image_id"] for s in world.samples if s["split_0"] == s["split_1"] == "train")
    dataset = bad.split("-")[0]
    store = FeatureStore.open(store_folder("pairs", "vit", dataset))
    arrays = {name: store.array(name).take(np.arange(len(store))) for name in store.names}
    shutil.rmtree(store.folder)
    write_store(store.folder, store.ids.tolist(), arrays, "digest-vit", (bad,))
    with caplog.at_level(logging.WARNING):
        data = load()
    assert sum(len(part) for part in (*data.train, *data.validation)) == before - 2
    assert "1 of 64 rows could not be encoded" in caplog.text


@pytest.mark.usefixtures("world")
def test_stores_of_different_encoders_are_refused() -> None:
    store = FeatureStore.open(store_folder("pairs", "minilm", "stamps"))
    pooled = store.array("pooled").take(np.arange(len(store)))
    shutil.rmtree(store.folder)
    write_store(store.folder, store.ids.tolist(), {"pooled": pooled}, "another")
    with pytest.raises(FingerprintMismatch, match="view 'minilm'"):
        load()


def test_a_repeat_without_a_split_and_an_empty_split_are_refused(world: World) -> None:
    with pytest.raises(DataError, match=r"lacks the columns split_2"):
        load_alignment_data("default", FIT, 3, torch.device("cpu"))
    held = {s["image_id"] for s in world.samples if s["split_1"] == "validation"}
    world.rewrite_pairs([pair for pair in world.pairs if pair["image_id"] not in held])
    with pytest.raises(DataError, match="the validation split of repeat 1 has 0 pairs"):
        load()


def image_of(data: AlignmentData, pairs: torch.Tensor) -> set[bytes]:
    """The images of training pairs, told apart by their features."""
    return {resident(data).images.inputs.cls[row].numpy().tobytes() for row in pairs[:, 0].tolist()}


def test_only_selected_images_are_trained_on_and_validation_is_untouched(world: World) -> None:
    everything = load()
    dropped = [s["image_id"] for s in world.samples if s["split_0"] == s["split_1"] == "train"][:5]
    world.write_selection("few", leave_out=dropped)
    few = load(FIT.model_copy(update={"data": "few"}))
    store = FeatureStore.open(store_folder("pairs", "vit", "emoji"))
    features = {store.read("cls", [image])[0, -1].tobytes() for image in dropped}
    for repeat in range(2):
        assert len(few.train[repeat]) == len(everything.train[repeat]) - 5
        assert image_of(everything, everything.train[repeat]) - image_of(few, few.train[repeat]) == features
        torch.testing.assert_close(few.validation[repeat], everything.validation[repeat])


def test_a_selection_of_other_splits_or_repeats_is_refused(world: World) -> None:
    held = next(s for s in world.samples if s["split_1"] == "test")
    leak = {"repeat": 1, "dataset": held["dataset"], "image_id": held["image_id"]}
    fit = FIT.model_copy(update={"data": "stale"})
    world.write_selection("stale", add=[leak])
    with pytest.raises(
        DataError, match=rf"selects 1 of \d+ images for repeat 1 .*{held['image_id']}.*\(test\).*curate@"
    ):
        load(fit)
    world.write_selection("stale", add=[leak | {"image_id": "gone"}])
    with pytest.raises(DataError, match=r"the first gone of .*\(absent\)"):
        load(fit)
    world.write_selection("stale", add=[leak | {"repeat": 2}])
    with pytest.raises(DataError, match=r"selects for repeat 2, but splits.repeats is 2.*dvc repro curate@stale"):
        load(fit)


@pytest.mark.usefixtures("world")
def test_a_missing_selection_is_refused() -> None:
    with pytest.raises(DataError, match=r"curation/best/selected.parquet.*dvc repro curate@best"):
        load(FIT.model_copy(update={"data": "best"}))
