"""Audio features in a store equal what the model's own library gives for each sound alone, rounded to float16."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.config import AudioView, EncodeParams, EncoderSpec, TextView
from pipeline.datasets.audio.decode import Sound
from pipeline.datasets.builder import IndexBuilder
from pipeline.encoders.audio import AudioEncoder, load_audio_encoder
from pipeline.encoders.checkpoint import materialise, read_manifest
from pipeline.encoders.embedded import EMBEDDED
from pipeline.encoders.embedded.ct2_file import read_weights
from pipeline.encoders.text import load_text_encoder
from pipeline.encoding.audio_rows import AudioRows, sound_arrays
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.plan import further_plan
from pipeline.encoding.run import StoreEncoder
from pipeline.encoding.sounds import IndexedSounds
from pipeline.errors import CheckpointError, DataError
from pipeline.features import FeatureStore
from pipeline.paths import WORK_VARIABLE
from tests.encoders.audio_models import FAMILIES, RATE, SECONDS
from tests.encoders.conftest import spec
from tests.encoders.dual_models import TEXTS, write_tokenizer
from tests.encoders.rounded import assert_rounded, parts

LENGTHS = (0.8, 0.31, 0.8, 0.55, 0.12, 0.31)  # seconds; some alike, so that passes mix lengths


def sounds() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    times = np.arange(RATE) / RATE
    out = []
    for number, seconds in enumerate(LENGTHS):
        wave = 0.4 * np.sin(2 * np.pi * (180 + 170 * number) * times) + generator.normal(
            0, 0.05 * (1 + number % 3), RATE
        )
        out.append(np.asarray(wave[: round(seconds * RATE)], np.float32))
    return out


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], tuple[Path, EncoderSpec]]:
    """The materialised checkpoint of a family with a pooling, and its entry."""
    made: dict[tuple[str, str], tuple[Path, EncoderSpec]] = {}
    origins: dict[str, Path] = {}

    def build(name: str, pooling: str, **options: Any) -> tuple[Path, EncoderSpec]:
        if name not in origins:
            origins[name] = tmp_path_factory.mktemp("origin") / name.replace(" ", "-")
            FAMILIES[name].make(origins[name])
        entry = spec("audio", "transformers", str(origins[name]), pooling=pooling, **options)
        if (name, pooling) not in made:
            folder = tmp_path_factory.mktemp("folder") / name.replace(" ", "-")
            materialise(entry, folder)
            made[name, pooling] = folder, entry
        return made[name, pooling][0], entry

    return build


def view(**options: Any) -> AudioView:
    return AudioView(encoder="x", **{"seconds": SECONDS, **options})


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sounds as float WAV, in an archive; one more that is damaged behind its header."""
    from pipeline.datasets.audio.decode import check_sound
    from pipeline.datasets.tables import media_id
    from tests.datasets.sounds import encoded

    folder = tmp_path_factory.mktemp("index")
    with IndexBuilder(folder) as builder:
        for number, samples in enumerate(sounds()):
            content = encoded(samples, subtype="FLOAT")
            builder.sounds.store(media_id(content), content, check_sound(content), f"{number}", "sound")
            builder.sounds.label(media_id(content), f"{number}")
        builder.finish({"source": "made"})
    return folder


def stored(folder: Path, entry: EncoderSpec, own: AudioView, index: Path, out: Path, batch: int = 4) -> FeatureStore:
    params = EncodeParams(batch_size=batch, workers=2)

    def load() -> AudioRows:
        return AudioRows(load_audio_encoder(folder, entry, own, "cpu"), own, IndexedSounds(index, own), params)

    fingerprint = fingerprint_of(read_manifest(folder), entry, own)
    StoreEncoder("store", fingerprint, load, 0.0, scratch=out / f"scratch{batch}").run(
        further_plan(index, own, 4), out / "store"
    )
    return FeatureStore.open(out / "store")


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.frames])
def test_frames_are_those_of_the_library_whatever_shares_a_pass(
    folders: Any, name: str, batch: int, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    folder, entry = folders(name, "mean", layers=[1, -1])
    reference = FAMILIES[name].frames
    assert reference is not None
    expected = [reference(folder, sound, (1, 2)) for sound in sounds()]
    assert np.std([own[1].mean(0).numpy() for own in expected], axis=0).max() > 0.01, "sounds must differ"

    whole = stored(folder, entry, view(tier="full"), index, tmp_path / "full", batch)
    means = np.stack([np.stack([layer.mean(0).numpy() for layer in own]) for own in expected])
    assert_rounded(np.asarray(whole.read("mean", whole.ids)), means)
    assert_rounded(np.asarray(whole.read("cls", whole.ids)), means)
    tokens, offsets = whole.ragged("tokens").take(np.arange(len(expected)))
    for place, own in enumerate(expected):
        assert_rounded(tokens[offsets[place] : offsets[place + 1]], own[1].numpy())

    coarse = stored(folder, entry, view(tier="grid", grid=3), index, tmp_path / "grid", batch)
    assert_rounded(
        np.asarray(coarse.read("grid", coarse.ids)), np.stack([parts(own[1], 3).numpy() for own in expected])
    )


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.pooled])
def test_pooled_outputs_are_those_of_the_library(
    folders: Any, name: str, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    folder, entry = folders(name, "model")
    reference = FAMILIES[name].pooled
    assert reference is not None
    expected = np.stack([reference(folder, sound).numpy() for sound in sounds()])
    assert expected.std(axis=0).max() > 1e-3, "sounds must differ"
    store = stored(folder, entry, view(), index, tmp_path)
    assert_rounded(np.asarray(store.read("cls", store.ids))[:, 0], expected)


def test_the_cls_token_of_ast(folders: Any, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.encoders.audio_models import _ast_output

    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    folder, entry = folders("ast", "cls")
    expected = np.stack([_ast_output(folder, sound)[1].last_hidden_state[0, 0].numpy() for sound in sounds()])
    store = stored(folder, entry, view(), index, tmp_path)
    assert_rounded(np.asarray(store.read("cls", store.ids))[:, 0], expected)


def test_the_texts_of_clap_share_the_space_of_its_sounds(folders: Any, tmp_path: Path) -> None:
    import transformers as hf

    folder, _ = folders("clap", "model")
    origin = tmp_path / "origin"
    hf.ClapModel.from_pretrained(folder).save_pretrained(origin)
    hf.AutoFeatureExtractor.from_pretrained(folder).save_pretrained(origin)
    write_tokenizer(origin)
    entry = spec("text", "transformers", str(origin), pooling="model")
    manifest = materialise(entry, tmp_path / "text")
    encoder = load_text_encoder(tmp_path / "text", entry, TextView(encoder="x"), "cpu")
    model, tokenizer = hf.ClapModel.from_pretrained(origin).eval(), hf.AutoTokenizer.from_pretrained(origin)
    with torch.inference_mode():
        tokens = tokenizer(list(TEXTS), padding=True, truncation=True, return_tensors="pt")
        expected = model.get_text_features(**tokens).pooler_output
    np.testing.assert_allclose(encoder.encode(list(TEXTS)).numpy(), expected.numpy(), atol=1e-5)
    assert manifest.preprocessing["logit_scale"] == pytest.approx(model.logit_scale_t.item())
    assert read_manifest(folder).preprocessing["logit_scale"] == pytest.approx(model.logit_scale_a.item())
    assert encoder.width == read_manifest(folder).width == 16
    with pytest.raises(CheckpointError, match="hears sounds and sees no pictures; set modality: audio"):
        materialise(spec("image", "transformers", str(origin), pooling="model"), tmp_path / "image")


def encoder_of(folders: Any, name: str, own: AudioView, pooling: str = "mean") -> AudioEncoder:
    folder, entry = folders(name, pooling)
    return load_audio_encoder(folder, entry, own, "cpu")


@pytest.mark.parametrize("name", ["whisper", "hubert", "ast", "clap"])
def test_a_clip_of_several_windows_is_their_mean_by_frames(folders: Any, name: str) -> None:
    pooling, long = FAMILIES[name].poolings[-1], np.concatenate(sounds())
    own = view(seconds=0.4, windows=5)
    encoder = encoder_of(folders, name, own, pooling)
    (whole,) = sound_arrays(encoder, own, [Sound(long, RATE)])
    length = round(0.4 * RATE)
    pieces = [long[start : start + length] for start in range(0, 5 * length, length)]
    single = sound_arrays(encoder, own.model_copy(update={"windows": 1}), [Sound(piece, RATE) for piece in pieces])
    weights = [encoder.frame_count(len(piece)) or len(piece) for piece in pieces]
    np.testing.assert_allclose(
        whole["cls"], np.average([one["cls"] for one in single], axis=0, weights=weights), atol=1e-5
    )


def test_windows_as_rows(folders: Any, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.datasets.audio.windows import window_table

    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    folder, entry = folders("hubert", "mean")
    own = view(seconds=0.3, windows=2, rows="window")
    store = stored(folder, entry, own, index, tmp_path)
    table = window_table(index, 0.3, 2)
    assert store.ids.tolist() == table["window_id"].to_pylist()
    assert table["number"].to_pylist() == [0, 1, 0, 0, 1, 0, 1, 0, 0]
    encoder = load_audio_encoder(folder, entry, own, "cpu")
    second = sounds()[0][round(0.3 * RATE) : round(0.6 * RATE)]
    (expected,) = sound_arrays(encoder, own.model_copy(update={"rows": "clip"}), [Sound(second, RATE)])
    assert_rounded(np.asarray(store.read("mean", store.ids[1:2]))[0], expected["mean"])


def test_a_sound_is_resampled(folders: Any) -> None:
    own = view()
    encoder = encoder_of(folders, "whisper", own)
    times = {rate: np.arange(round(0.5 * rate)) / rate for rate in (RATE, 44_100)}
    tones = [Sound(np.asarray(0.4 * np.sin(2 * np.pi * 500 * t), np.float32), rate) for rate, t in times.items()]
    one, other = sound_arrays(encoder, own, tones)
    assert np.abs(one["mean"] - other["mean"]).max() < 0.05 * np.abs(one["mean"]).max()


def test_silence_has_features_and_too_short_a_sound_has_a_reason(folders: Any) -> None:
    own = view()
    for name in FAMILIES:
        encoder = encoder_of(folders, name, own, FAMILIES[name].poolings[-1])
        (quiet,) = sound_arrays(encoder, own, [Sound(np.zeros(4_000, np.float32), RATE)])
        assert all(np.isfinite(values).all() for values in quiet.values()), name
    hubert = encoder_of(folders, "hubert", own)
    with pytest.raises(DataError, match=f"a sound of 20 samples at 16,000 Hz; its encoder needs {hubert.least}"):
        sound_arrays(hubert, own, [Sound(np.ones(20, np.float32), RATE)])
    assert hubert.frame_count(hubert.least) == 1
    assert hubert.frame_count(hubert.least - 1) == 0


@pytest.mark.parametrize(
    ("name", "pooling", "options", "message"),
    [
        ("whisper", "cls", {}, "has no CLS token; set `pooling` to one of: mean"),
        ("hubert", "model", {}, "has no pooled output of its own; set `pooling` to one of: mean"),
        ("clap", "mean", {}, "has no mean pooling; set `pooling` to one of: model"),
        ("whisper", "mean", {"seconds": 3.0}, "hears at most 2 seconds at once, and the view asks for 3"),
        ("ast", "mean", {"seconds": 1.5}, "hears at most 0.975 seconds"),
        ("clap", "model", {"seconds": 1.5}, "hears at most 1 seconds"),
        ("clap", "model", {"tier": "grid"}, "gives one vector per window and no frames; set `tier: pooled`"),
    ],
)
def test_what_does_not_exist_is_refused(folders: Any, name: str, pooling: str, options: Any, message: str) -> None:
    folder, entry = folders(name, pooling)
    with pytest.raises(CheckpointError, match=message):
        load_audio_encoder(folder, entry, view(**options), "cpu")


def test_a_layer_that_does_not_exist(folders: Any) -> None:
    folder, entry = folders("hubert", "mean", layers=[3])
    with pytest.raises(CheckpointError, match="layers \\[3\\] do not exist; there are 2"):
        load_audio_encoder(folder, entry, view(), "cpu")


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    import transformers as hf

    hf.ViTModel(hf.ViTConfig(hidden_size=24, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(
        tmp_path / "vit"
    )
    with pytest.raises(CheckpointError, match="audio models of type 'vit' are not supported; these are: .*whisper"):
        materialise(spec("audio", "transformers", str(tmp_path / "vit"), pooling="mean"), tmp_path / "made")


def embedded_folder(model: str, tmp_path: Path) -> tuple[Path, EncoderSpec]:
    loader = EMBEDDED[model][0]
    entry = spec("audio", loader, model, "embedded", pooling="model" if loader == "log-mel" else "mean")
    try:
        materialise(entry, tmp_path / model)
    except CheckpointError as error:
        if "not installed" not in str(error):
            raise
        pytest.skip(f"{error}")
    return tmp_path / model, entry


def test_log_mel_statistics(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import WhisperFeatureExtractor

    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    folder, entry = embedded_folder("log-mel-statistics", tmp_path)
    store = stored(folder, entry, view(seconds=1.0), index, tmp_path)
    extractor = WhisperFeatureExtractor()
    expected = []
    for sound in sounds():
        spectrum = extractor(sound, sampling_rate=RATE, max_length=RATE, return_tensors="np").input_features[0]
        real = spectrum[:, : -(-len(sound) // 160)]
        expected.append(np.concatenate([real.mean(axis=1), real.std(axis=1)]))
    assert_rounded(np.asarray(store.read("cls", store.ids))[:, 0], np.stack(expected))


def ct2_file(path: Path, weights: dict[str, np.ndarray], version: int = 6, spec_name: str = "WhisperSpec") -> Path:
    """A model.bin of CTranslate2."""

    def text(written: str) -> bytes:
        return struct.pack("<H", len(written) + 1) + written.encode() + b"\0"

    content = struct.pack("<I", version) + text(spec_name) + struct.pack("<II", 3, len(weights))
    for name, values in weights.items():
        half = np.ascontiguousarray(values, np.float16)
        content += text(name) + struct.pack("<B", half.ndim) + struct.pack(f"<{half.ndim}I", *half.shape)
        content += struct.pack("<BI", 4, half.nbytes) + half.tobytes()
    path.write_bytes(content + struct.pack("<I", 1) + text("decoder/projection/weight") + text(next(iter(weights))))
    return path


def as_ct2(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """The weights of an encoder of two layers as CTranslate2 calls and joins them."""
    own = {name: tensor.numpy() for name, tensor in state.items()}
    out = {"encoder/position_encodings/encodings": own["embed_positions.weight"]}
    parts = {"weight": "weight", "bias": "bias"}
    norms = {"weight": "gamma", "bias": "beta"}
    plain = {"conv1": ("encoder/conv1", parts), "conv2": ("encoder/conv2", parts)}
    plain["layer_norm"] = ("encoder/layer_norm", norms)
    for number in range(2):
        layer, there = f"layers.{number}", f"encoder/layer_{number}"
        plain[f"{layer}.self_attn_layer_norm"] = (f"{there}/self_attention/layer_norm", norms)
        plain[f"{layer}.self_attn.out_proj"] = (f"{there}/self_attention/linear_1", parts)
        plain[f"{layer}.final_layer_norm"] = (f"{there}/ffn/layer_norm", norms)
        plain[f"{layer}.fc1"] = (f"{there}/ffn/linear_0", parts)
        plain[f"{layer}.fc2"] = (f"{there}/ffn/linear_1", parts)
        names = [f"{layer}.self_attn.{part}_proj" for part in "qkv"]
        no_bias = np.zeros_like(own[f"{names[0]}.bias"])
        joined = f"{there}/self_attention/linear_0"
        out[f"{joined}/weight"] = np.concatenate([own[f"{name}.weight"] for name in names])
        out[f"{joined}/bias"] = np.concatenate([own.get(f"{name}.bias", no_bias) for name in names])
    for name, (there, called) in plain.items():
        out |= {f"{there}/{theirs}": own[f"{name}.{ours}"] for ours, theirs in called.items()}
    return out


def test_weights_come_out_of_a_file_of_ctranslate2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    from pipeline.encoders.embedded import whisper_tiny
    from tests.encoders.audio_models import WHISPER

    torch.manual_seed(0)
    encoder = WhisperEncoder(WhisperConfig(**WHISPER))
    state = {name: tensor.half().float() for name, tensor in encoder.state_dict().items()}
    path = ct2_file(tmp_path / "model.bin", as_ct2(state))
    monkeypatch.setitem(whisper_tiny.CONFIG, "encoder_layers", 2)
    made = whisper_tiny.encoder_weights(read_weights(path, "WhisperSpec"))
    assert made.keys() == state.keys()
    for name, values in made.items():
        np.testing.assert_array_equal(values, state[name].numpy())
    lacking = {name: values for name, values in as_ct2(state).items() if "layer_1/ffn" not in name}
    with pytest.raises(CheckpointError, match="lacks 'encoder/layer_1/ffn"):
        whisper_tiny.encoder_weights(lacking)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-40], "is no whole model of CTranslate2"),
        (lambda content: content + b"more", "has 4 bytes behind its end"),
        (lambda content: b"\x07" + content[1:], "expected WhisperSpec of version 6, found WhisperSpec of version 7"),
        (lambda content: content.replace(b"WhisperSpec", b"MarianMTSpe"), "found MarianMTSpe of version 6"),
        (lambda _: b"", "is no whole model"),
    ],
)
def test_a_damaged_file_of_ctranslate2(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = ct2_file(tmp_path / "model.bin", {"a/weight": np.ones((2, 3)), "b/bias": np.ones(3)})
    assert read_weights(path, "WhisperSpec")["decoder/projection/weight"].shape == (2, 3)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=message):
        read_weights(path, "WhisperSpec")


def test_the_control_of_whisper_differs_in_its_weights_only(tmp_path: Path) -> None:
    real, control = (embedded_folder(model, tmp_path)[0] for model in ("whisper-tiny.en", "random-whisper-tiny"))
    first, second = read_manifest(real), read_manifest(control)
    assert first.preprocessing == second.preprocessing
    assert {name for name in first.files if first.files[name] != second.files[name]} == {"model.safetensors"}


def test_the_control_is_deterministic_and_its_signal_does_not_fade(tmp_path: Path) -> None:
    from pipeline.encoders.embedded import random_whisper

    torch.manual_seed(123)
    folder, entry = embedded_folder("random-whisper-tiny", tmp_path)
    (tmp_path / "again").mkdir()
    random_whisper.convert(tmp_path / "again")
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "again" / "model.safetensors").read_bytes()
    encoder = load_audio_encoder(folder, entry, view(seconds=1.0), "cpu")
    one, other = sound_arrays(encoder, view(seconds=1.0), [Sound(sounds()[0], RATE), Sound(sounds()[3], RATE)])
    assert np.linalg.norm(one["mean"] - other["mean"]) > 0.01 * np.linalg.norm(one["mean"]) > 0


def test_embedded_whisper_is_whisper(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its features are those of transformers' own encoder, its positions cut to the window."""
    from transformers import WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    folder, entry = embedded_folder("whisper-tiny.en", tmp_path)
    own = view(seconds=1.0)
    config = WhisperConfig.from_pretrained(folder)
    config.max_source_positions = 50
    whole, report = WhisperEncoder.from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    weights = whole.state_dict()
    weights["embed_positions.weight"] = weights["embed_positions.weight"][:50]
    encoder = WhisperEncoder(config).eval()
    encoder.load_state_dict(weights)
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    expected = []
    for sound in sounds():
        features = extractor(sound, sampling_rate=RATE, max_length=RATE, return_tensors="pt").input_features
        with torch.inference_mode():
            expected.append(encoder(features).last_hidden_state[0, : -(-len(sound) // 320)].mean(0).numpy())
    store = stored(folder, entry, own, index, tmp_path)
    assert_rounded(np.asarray(store.read("mean", store.ids))[:, 0], np.stack(expected))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("precision", [{"dtype": "bfloat16"}, {"autocast": "bfloat16"}])
def test_lower_precision_computes_nearly_the_same(folders: Any, name: str, precision: dict[str, str]) -> None:
    own, heard = view(), [Sound(samples, RATE) for samples in sounds()]
    folder, entry = folders(name, FAMILIES[name].poolings[-1])
    exact, near = (
        np.stack([row["cls"] for row in sound_arrays(load_audio_encoder(folder, one, own, "cpu"), own, heard)])
        for one in (entry, entry.model_copy(update=precision))
    )
    assert 0 < np.linalg.norm(near - exact) < 0.05 * np.linalg.norm(exact)
