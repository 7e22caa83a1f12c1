"""An aligner that hears: vectors of sounds as a store has them, however they are given; search across modalities."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import Aligner
from pipeline.alignment.vectors import embed_stored_images, embed_stored_texts
from pipeline.commands.parser import main
from pipeline.datasets.audio.decode import Sound
from pipeline.datasets.tables import media_id
from pipeline.errors import DataError, FingerprintMismatch, ModelError
from pipeline.features import FeatureStore
from pipeline.inference.sounds import is_sound, open_sound
from tests.inference.conftest import Project
from tests.inference.hearing import NAMES, RATE, add_sounds, samples_of, sound_paths

ROUNDING = 5e-3  # of float16 features behind heads with random weights


@pytest.fixture(scope="module")
def hearing(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("hearing") / "project"
    shutil.copytree(project.root, root)
    with_sounds = Project(root)
    add_sounds(with_sounds, tmp_path_factory.mktemp("work"))
    return with_sounds


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(project: Project, name: str, **options: Any) -> Aligner:
    return Aligner.from_pretrained(project.model(name), device="cpu", **options)


def store(project: Project, view: str) -> FeatureStore:
    dataset = "heard" if view.startswith("ear") else "mine"
    return FeatureStore.open(project.root / "data/features/pairs" / view / dataset)


def ids_of(project: Project) -> list[str]:
    return [media_id(path.read_bytes()) for path in sound_paths(project.root)]


@pytest.mark.parametrize(
    ("name", "view", "of_store"),
    [
        ("hears", "ear", embed_stored_images),
        ("further", "ear", embed_stored_images),
        ("sees-and-hears", "ear", embed_stored_texts),
        ("hears-frames", "ear-full", embed_stored_texts),
    ],
)
def test_vectors_of_sounds_are_those_of_the_store(hearing: Project, name: str, view: str, of_store: Any) -> None:
    model = load(hearing, name)
    found = model.encode_audio(sound_paths(hearing.root))
    assert found.dtype == np.float32
    assert found.shape == (len(NAMES), 12)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    expected = of_store(model._heads, store(hearing, view), np.array(ids_of(hearing)))
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


def test_a_sound_may_be_given_in_many_forms(hearing: Project) -> None:
    model = load(hearing, "hears")
    path = sound_paths(hearing.root)[2]
    (expected,) = model.encode_audio(path)
    samples = samples_of(2)
    stereo = np.stack([samples * 1.5, samples * 0.5])
    forms = {
        "path": str(path), "bytes": path.read_bytes(), "samples": (samples, RATE),
        "dict": {"array": samples, "sampling_rate": RATE}, "tensor": (torch.from_numpy(samples), RATE),
        "channels": (stereo, RATE), "channels last": (stereo.T, RATE), "sound": Sound(samples, RATE),
        "double": (samples.astype(np.float64), RATE),
    }  # fmt: skip
    for form, given in forms.items():
        np.testing.assert_allclose(model.encode_audio(given)[0], expected, atol=1e-4, err_msg=form)
    rough = (np.round(samples * 32767).astype(np.int16), RATE)
    np.testing.assert_allclose(model.encode_audio(rough)[0], expected, atol=1e-2)
    assert model.encode_audio([path, path.read_bytes()]).shape == (2, 12)


def test_encode_tells_sounds_from_texts_and_pictures(hearing: Project) -> None:
    model = load(hearing, "further")
    path, picture = sound_paths(hearing.root)[1], hearing.pictures[0]
    assert model.modalities == ["image", "audio", "text"]
    assert [model.supports(one) for one in ("image", "audio", "text", "video")] == [True, True, True, False]
    vectors = model.encode(["a bell", str(path), picture, {"audio": path}, (samples_of(1), RATE), "bell.wav"])
    np.testing.assert_allclose(vectors[[1, 3]], model.encode_audio([path, path]), atol=1e-6)
    np.testing.assert_allclose(vectors[0], model.encode_text("a bell")[0], atol=1e-6)
    np.testing.assert_allclose(vectors[2], model.encode_image(picture)[0], atol=1e-6)
    np.testing.assert_allclose(vectors[4], vectors[1], atol=1e-4)
    np.testing.assert_allclose(vectors[5], model.encode_text("bell.wav")[0], atol=1e-6)  # no such file: words


def test_pictures_and_texts_of_the_space_are_those_of_the_aligner_that_stands(hearing: Project) -> None:
    own, standing = load(hearing, "further", repeat=1), load(hearing, "grid", repeat=1)
    assert own.encode_text(["a bell", "a horn"]).tobytes() == standing.encode_text(["a bell", "a horn"]).tobytes()
    assert own.encode_image(hearing.pictures[:3]).tobytes() == standing.encode_image(hearing.pictures[:3]).tobytes()
    labels = [model.classify(hearing.pictures[0], ["bell", "horn"]) for model in (own, standing)]
    assert labels[0] == labels[1]


@pytest.mark.parametrize("view", ["ear", "grid", "words"])
def test_any_modality_searches_any_store(hearing: Project, view: str) -> None:
    model = load(hearing, "further")
    rows = store(hearing, view)
    embed = embed_stored_texts if view == "words" else embed_stored_images
    heads = model._heads if view == "ear" else model._heads.space
    assert heads is not None
    vectors = embed(heads, rows, rows.ids)
    queries = {
        "text": ("a bell", model.encode_text("a bell")[0]),
        "image": (hearing.pictures[1], model.encode_image(hearing.pictures[1])[0]),
        "audio": (sound_paths(hearing.root)[3], model.encode_audio(sound_paths(hearing.root)[3])[0]),
        "samples": ((samples_of(3), RATE), model.encode_audio((samples_of(3), RATE))[0]),
    }
    for query, vector in queries.values():
        hits = model.search(rows, query, k=3)
        expected = np.argsort(-(vectors @ vector), kind="stable")[:3]
        assert [hit.id for hit in hits] == rows.ids[expected].tolist()
    both = model.search(rows, "a bell", k=1, add=[sound_paths(hearing.root)[0]], subtract=[hearing.pictures[0]])
    assert len(both) == 1


def test_search_among_sounds_goes_by_what_their_tables_say(hearing: Project) -> None:
    model = load(hearing, "hears")
    rows = store(hearing, "ear")
    (hit,) = model.search(rows, "a bell", k=5, where={"concept": "horn"})
    assert hit.id == ids_of(hearing)[NAMES.index("horn")]
    with pytest.raises(DataError, match="No row has concept 'frog'; there are: .*horn"):
        model.search(rows, "a bell", where={"concept": "frog"})
    with pytest.raises(FingerprintMismatch, match="other features than aligner 'hears'"):
        model.search(store(hearing, "grid"), "a bell")


def test_sounds_are_classified_by_words(hearing: Project) -> None:
    model = load(hearing, "hears")
    one = model.classify_audio(sound_paths(hearing.root)[0], ["bell", "horn", "drum"], top=2)
    assert len(one) == 2
    assert sum(
        label.probability for label in model.classify_audio(sound_paths(hearing.root)[0], NAMES)
    ) == pytest.approx(1)
    several = model.classify_audio(sound_paths(hearing.root), NAMES)
    assert len(several) == len(NAMES)
    texts = model.encode_text([f"the sound of a {name}" for name in ("bell", "horn", "drum")])
    scores = texts @ model.encode_audio(sound_paths(hearing.root)[0])[0]
    assert one[0].name == ("bell", "horn", "drum")[int(scores.argmax())]


SILENCE = np.zeros(900, np.float32)
REFUSED: dict[str, tuple[str, Any, str]] = {
    "pictures": ("hears", lambda m: m.encode_image(np.zeros((9, 9, 3), np.uint8)), "takes sounds and texts; it has no"),
    "texts": (
        "sees-and-hears",
        lambda m: m.encode_text("a bell"),
        "takes images and sounds; it has no encoder of te",
    ),
    "sounds": (
        "grid",
        lambda m: m.encode_audio((SILENCE, RATE)),
        "takes images and texts; it has no encoder of sou",
    ),
    "missing": ("hears", lambda m: m.encode_audio("missing.wav"), "missing.wav cannot be read"),
    "no sound": ("hears", lambda m: m.encode_audio(b"RIFF....WAVEnothing"), "Sound 0 cannot be encoded"),
    "no rate": ("hears", lambda m: m.encode_audio(SILENCE), "without their rate"),
    "1 Hz": ("hears", lambda m: m.encode_audio((SILENCE, 1)), "sampling_rate must be at least 1000, found 1"),
    "NaN": ("hears", lambda m: m.encode_audio((SILENCE * np.nan, RATE)), "NaN"),
    "3 axes": ("hears", lambda m: m.encode_audio((np.zeros((2, 2, 2)), RATE)), r"samples \(n,\) or \(channels, n\)"),
    "empty": ("hears", lambda m: m.encode_audio((SILENCE[:0], RATE)), "Expected samples"),
    "none": ("hears", lambda m: m.encode_audio([]), "at least one sound"),
    "a number": ("hears", lambda m: m.encode_audio(7), "Expected one sound"),
    "video": ("hears", lambda m: m.encode("x", modality="video"), "modality must be one of image, text, audio"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_said(hearing: Project, case: str) -> None:
    name, call, message = REFUSED[case]
    with pytest.raises(DataError, match=message):
        call(load(hearing, name))


def test_a_saved_aligner_has_its_space_along(hearing: Project, tmp_path: Path) -> None:
    model = load(hearing, "further")
    model.save_pretrained(tmp_path / "saved")
    for path in hearing.model("further").rglob("*.safetensors"):
        copy = tmp_path / "saved" / path.relative_to(hearing.model("further"))
        assert copy.read_bytes() == path.read_bytes()
    again = Aligner.from_pretrained(tmp_path / "saved", device="cpu", checkpoints=hearing.root / "data/checkpoints")
    path = sound_paths(hearing.root)[0]
    assert again.encode_audio(path).tobytes() == model.encode_audio(path).tobytes()
    assert again.encode_text("a bell").tobytes() == model.encode_text("a bell").tobytes()
    card = (tmp_path / "saved/README.md").read_text()
    assert "in the space of aligner `grid`" in card
    assert "encode_audio" in card
    assert "| audio |" in card
    assert "| image |" in card
    assert "- image-audio-text\n" in card
    hears = load(hearing, "hears")
    hears.save_pretrained(tmp_path / "hears")
    card = (tmp_path / "hears/README.md").read_text()
    assert "- audio-text\n" in card
    assert "icture" not in card
    assert not [line for line in card.splitlines() if "image" in line.lower() and not line.startswith(' "image')]


@pytest.mark.parametrize("name", ["hears", "sees-and-hears", "further"])
def test_an_export_says_what_it_cannot_express(hearing: Project, tmp_path: Path, name: str) -> None:
    model = load(hearing, name)
    for export in (model.export_sentence_transformers, model.export_onnx):
        with pytest.raises(ModelError, match="takes sounds. An export to .* has no form for reading, resampling"):
            export(tmp_path / "out")
    if name == "further":
        with pytest.raises(ModelError, match="those of aligner 'grid': export that one"):
            model.export_onnx(tmp_path / "out")


def test_a_copy_on_another_process_and_a_move_keep_the_space(hearing: Project) -> None:
    import pickle

    model = load(hearing, "further")
    again = pickle.loads(pickle.dumps(model))
    path = sound_paths(hearing.root)[0]
    for one in (again, model.on("cpu"), model.to("cpu")):
        assert one.encode_audio(path).tobytes() == model.encode_audio(path).tobytes()
        assert one.encode_text("a bell").tobytes() == model.encode_text("a bell").tobytes()


def test_the_command_line_takes_a_sound(hearing: Project, capsys: pytest.CaptureFixture[str]) -> None:
    path = sound_paths(hearing.root)[1]
    assert main(["search", str(hearing.model("further")), str(path), "-k", "2", "--json"]) == 0
    assert "pictures" in capsys.readouterr().out
    ear = hearing.root / "data/features/pairs/ear/heard"
    assert main(["search", str(hearing.model("hears")), str(path), "--in", str(ear), "-k", "1"]) == 0
    assert "drum.wav" in capsys.readouterr().out
    assert main(["classify", str(hearing.model("hears")), str(path), "--names", "bell,drum"]) == 0
    assert "drum" in capsys.readouterr().out
    assert main(["embed", str(hearing.model("hears")), str(ear), "--out", "vectors"]) == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"OggS\0\0", True), (b"fLaC\0", True), (b"RIFF\0\0\0\0WAVEfmt ", True), (b"ID3\x04", True),
        (b"\xff\xfb\x90", True),
        (b"RIFF\0\0\0\0WEBPVP8 ", False), (b"\xff\xd8\xff\xe0", False), (b"\x89PNG\r\n", False), (b"", False),
    ],
)  # fmt: skip
def test_files_are_told_apart_by_their_first_bytes(content: bytes, told: bool) -> None:
    assert is_sound(content) is told


def test_whole_numbers_are_brought_to_one() -> None:
    loud = open_sound((np.array([0, 32767, -32767], np.int16), 8000)).samples
    np.testing.assert_allclose(loud, [0, 1, -1], atol=1e-4)
    silent = open_sound((np.full(9, 128, np.uint8), 8000)).samples
    assert not silent.any()
