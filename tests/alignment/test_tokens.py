"""Aligners that read every token of a text instead of its sentence embedding."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.alignment import ProjectionHeads, fit_aligner
from pipeline.alignment.data.load import AlignmentData, load_alignment_data
from pipeline.alignment.vectors import embed_stored_texts
from pipeline.config import EvaluateSettings, RetrievalParams, TrainParams
from pipeline.errors import StoreError
from pipeline.evaluation import evaluate_task
from pipeline.features import ArraySpec, FeatureStore, Fingerprint
from pipeline.features.publish import publish
from pipeline.features.quantised import stored_rows, stored_specs
from pipeline.features.scratch import WORK_VARIABLE
from pipeline.features.shards import ShardWriter
from pipeline.paths import store_folder
from tests.alignment.specs import DATASETS, evaluated, fit_of, head_of, settings_of
from tests.alignment.toy import World

FIT = fit_of(head_of(text_tokens="full"), text="tokens")
PARAMS = TrainParams(epochs=20, min_steps=0, batch_size=32, warmup_steps=3, lr=5e-3, device="cpu", shuffle_block=4)


@pytest.fixture
def told(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The world with a view of texts as one to four tokens, whose mean is the sentence embedding."""
    monkeypatch.setenv(WORK_VARIABLE, str(world.root / "work"))
    for dataset in world.datasets:
        plain = FeatureStore.open(store_folder("pairs", "minilm", dataset))
        write_tokens(store_folder("pairs", "tokens", dataset), plain, world.root / "scratch" / dataset)
    return world


def write_tokens(out: Path, plain: FeatureStore, scratch: Path) -> None:
    generator = np.random.default_rng(0)
    pooled = plain.array("pooled").take(np.arange(len(plain))).astype(np.float32)
    lengths = generator.integers(1, 5, len(pooled))
    parts = []
    for vector, length in zip(pooled, lengths.tolist(), strict=True):
        noise = generator.normal(size=(length, len(vector)))
        parts.append(vector + noise - noise.mean(axis=0))
    specs = [ArraySpec("pooled", pooled.shape[1:], "float16"), ArraySpec("tokens", pooled.shape[1:], "float16", most=4)]
    arrays = {"pooled": pooled, "tokens": np.concatenate(parts), "tokens_length": lengths}
    with ShardWriter(scratch, stored_specs(specs), plain.ids.tolist(), 512) as writer:
        writer.append(stored_rows(arrays, specs, ~plain.valid), [plain.reasons.get(str(i)) for i in plain.ids])
        shard = writer.finish()
    publish(out, Fingerprint({"tokens": 1}), stored_specs(specs), [shard], 512, {})


def load(mode: str) -> AlignmentData:
    params = PARAMS.model_copy(update={"features": mode})
    return load_alignment_data("default", FIT, 2, torch.device("cpu"), params)


@pytest.mark.usefixtures("told")
def test_every_mode_serves_the_same_tokens_and_masks() -> None:
    served = {}
    for mode in ("device", "host", "stream"):
        data = load(mode)
        pairs = []
        for batch in data.features.epoch(data.train[0], 16, torch.Generator().manual_seed(0), 1):
            assert batch.texts.mask is not None
            for image, tokens, mask in zip(batch.images.cls, batch.texts.tokens, batch.texts.mask, strict=True):
                pairs.append((image.numpy().tobytes(), tokens[mask].numpy().tobytes(), int(mask.sum())))
        served[mode] = sorted(pairs)
    assert {length for _, _, length in served["device"]} == {1, 2, 3, 4}
    assert served["device"] == served["host"] == served["stream"]


def test_an_aligner_trains_on_tokens_and_is_evaluated_with_them(told: World) -> None:
    fits = {"default": FIT, "control": FIT.model_copy(update={"image": "control"})}
    for name, fit in fits.items():
        fit_aligner(settings_of(fit, PARAMS, name))
    settings = EvaluateSettings(
        name="retrieval",
        task=RetrievalParams(datasets=DATASETS),
        evaluate=told.config().section("evaluate").model_copy(update={"control": "control"}),
        aligners=evaluated(fits),
        repeats=2,
        seed=0,
    )
    rows = evaluate_task(settings).rows
    value = {(row.aligner, row.dataset, row.metric): row.value for row in rows}
    for dataset in told.datasets:
        assert value["default", dataset, "t2i_recall@1"] > value["control", dataset, "t2i_recall@1"] + 0.3

    store = FeatureStore.open(store_folder("pairs", "tokens", "emoji"))
    heads = ProjectionHeads.from_folder(Path("data/models/default"))
    assert heads.config.text_tokens == "full"
    ids = store.ids[store.valid]
    whole = embed_stored_texts(heads, store, ids)
    assert len(embed_stored_texts(heads, store, ids[:0])) == 0
    for number in (0, 5):  # padding changes nothing
        np.testing.assert_allclose(embed_stored_texts(heads, store, ids[[number]])[0], whole[number], atol=1e-5)
    with pytest.raises(ValueError, match="text_tokens: full; these features are pooled"):
        heads.embed_text(store.read("pooled", ids))


@pytest.mark.usefixtures("world")
def test_a_view_without_tokens_is_said() -> None:
    with pytest.raises(StoreError, match="tier: full"):
        load_alignment_data("default", FIT.model_copy(update={"text": "minilm"}), 2, torch.device("cpu"), PARAMS)
