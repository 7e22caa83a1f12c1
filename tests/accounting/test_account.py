"""Costs against a run whose figures are known."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.accounting import account
from pipeline.accounting.machine import cpu_model, describe_machine
from pipeline.accounting.parameters import parameter_count
from pipeline.accounting.ratios import published_ratios
from pipeline.accounting.stages import written
from pipeline.encoding.run import JOURNAL
from pipeline.errors import CheckpointError, DataError
from pipeline.features.fused import fused_fingerprint
from tests.accounting.conftest import EYE, NAMES, WORDS, put

ROOT = Path(__file__).parents[2]


def costs(folder: Path) -> dict[str, Any]:
    account(folder / "out", NAMES)
    content: dict[str, Any] = json.loads((folder / "out/costs.json").read_text())
    return content


def stage(content: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [entry for entry in content["stages"] if entry["stage"] == name]
    assert isinstance(found, dict)
    return found


def test_every_stage_with_outputs_is_listed_once_in_the_order_of_the_dag(run: Path) -> None:
    assert [entry["stage"] for entry in costs(run)["stages"]] == [
        *("checkpoint@eye", "checkpoint@words", "index@mine", "index@other"),
        *("scenes@composed", "scenes@training", "splits", "prompts"),
        *("encode@mine-eye", "encode@mine-words", "encode@other-words", "train@again", "train@default"),
        *("evaluate@long_text", "evaluate@retrieval"),
    ]


def test_seconds_are_those_of_the_last_run_and_null_where_outputs_were_restored(run: Path) -> None:
    content = costs(run)
    eye = stage(content, "encode@mine-eye")
    assert eye == {
        "stage": "encode@mine-eye",
        "group": "encode",
        "view": "eye",
        "seconds": 4.0,
        "peak_bytes": 7,
        "output_bytes": 100 + (run / "data/features/pairs/eye/mine/zarr.json").stat().st_size,
        "files": 2,
        "rows": 10,
        "backbone_rows": 10,
        "backbone_seconds": 3.0,
    }
    restored = stage(content, "encode@other-words")
    assert (restored["seconds"], restored["peak_bytes"], restored["backbone_rows"]) == (None, None, None)
    assert restored["rows"] == 5
    assert stage(content, "evaluate@long_text")["seconds"] == 2.0
    assert stage(content, "evaluate@long_text")["files"] == 4


def test_parameters_of_aligners(run: Path) -> None:
    again, default = costs(run)["aligners"]
    assert (again["aligner"], default["aligner"]) == ("again", "default")
    assert (default["trainable"], default["kept"]) == (3, 5)
    assert default["image_encoder"] == {"view": "eye", "model": "eye-net", "parameters": EYE}
    assert default["text_encoder"] == {"view": "words", "model": "words-net", "parameters": WORDS}
    assert default["total"] == 3 + 5 + EYE + WORDS
    assert default["trainable_share"] == pytest.approx(3 / (3 + 5 + EYE + WORDS))
    assert default["samples_seen"] == 2 * 8 * 3
    assert default["samples_seen_by_repeat"] == {"repeat_0": 24, "repeat_1": 24}
    assert default["training_pairs_by_repeat"] == {"repeat_0": 8, "repeat_1": 8}
    assert default["train_seconds"] == 1.5


@pytest.mark.parametrize(("first", "second"), [("audio", "text"), ("image", "audio")])
def test_encoders_stand_under_what_they_encode(run: Path, first: str, second: str) -> None:
    path = run / "data/models/default/config.json"
    config = json.loads(path.read_text())
    for side, modality in (("image", first), ("text", second)):
        config["fingerprints"][side]["compared"]["modality"] = modality
    put(path, config)
    default = costs(run)["aligners"][1]
    assert [key for key in default if key.endswith("_encoder")] == [f"{first}_encoder", f"{second}_encoder"]
    assert default[f"{second}_encoder"] == {"view": "words", "model": "words-net", "parameters": WORDS}
    assert default["seconds_at_use"] == pytest.approx({first: 0.3, second: 0.05})
    assert default["total"] == 3 + 5 + EYE + WORDS


def test_an_aligner_that_does_not_count_its_kept_rows_apart_is_refused(run: Path) -> None:
    path = run / "data/models/default/config.json"
    put(path, {name: value for name, value in json.loads(path.read_text()).items() if name != "kept"})
    with pytest.raises(DataError, match="expected the field 'kept'.*dvc repro"):
        costs(run)


def test_ratios_of_the_run_by_hand(run: Path) -> None:
    ratios = {entry["name"]: entry for entry in costs(run)["ratios"]}
    assert ratios["default.trainable_share"]["value"] == pytest.approx(3 / (3 + 5 + EYE + WORDS))
    in_loop = 2 * (48 + 24)  # samples of both aligners through both encoders
    assert ratios["encode_once.rows_through_backbones"]["value"] == pytest.approx(in_loop / (10 + 25))
    seconds = ratios["encode_once.backbone_seconds"]
    assert seconds["inputs"]["seconds_per_row_eye"] == pytest.approx(0.3)
    assert seconds["inputs"]["seconds_per_row_words"] == pytest.approx(0.05)
    assert seconds["inputs"]["seconds_in_loop"] == pytest.approx(72 * 0.35)
    assert seconds["inputs"]["seconds_once"] == pytest.approx(10 * 0.3 + 25 * 0.05)
    assert seconds["value"] == pytest.approx(72 * 0.35 / 4.25)
    assert "Arithmetic, not a measurement" in seconds["note"]


def test_ratios_that_lack_a_measurement_say_so(run: Path) -> None:
    (run / "work/scratch/journal.jsonl").unlink()
    content = costs(run)
    ratios = {entry["name"]: entry for entry in content["ratios"]}
    assert ratios["encode_once.backbone_seconds"]["value"] is None
    assert "No run of these views is on record here: eye, words." in ratios["encode_once.backbone_seconds"]["note"]
    assert ratios["encode_once.rows_through_backbones"]["value"] is not None
    assert "encode_once.backbone_seconds" not in json.loads((run / "out/costs.summary.json").read_text())["ratios"]


def test_the_ratios_of_the_poster_follow_from_its_figures() -> None:
    found = {entry["name"].removeprefix("poster."): entry for entry in published_ratios()}
    assert found["compute_openai_clip"]["value"] == pytest.approx(54.6125)
    assert found["compute_laion400m_clip"]["value"] == pytest.approx(63.5)
    assert found["training_pairs"]["value"] == 20
    assert found["samples_seen"]["value"] == pytest.approx(21.333, abs=1e-3)
    assert found["trainable_parameters"]["value"] == pytest.approx(37.13, abs=1e-2)
    assert found["trainable_share"]["value"] == pytest.approx(0.01716, abs=1e-5)
    for entry in found.values():
        first, second = entry["inputs"].values()
        assert entry["formula"] == " / ".join(entry["inputs"])
        assert entry["value"] == first / second
    assert [entry["poster"] for entry in found.values()].count("65x") == 2


def test_an_empty_project_is_accounted_for(run: Path) -> None:
    shutil.rmtree(run / "data")
    account(run / "out", NAMES.model_copy(update={"aligners": ()}))
    content = json.loads((run / "out/costs.json").read_text())
    assert content["stages"] == []
    assert content["aligners"] == []
    assert all(entry["name"].startswith("poster.") for entry in content["ratios"])


def test_the_summary_is_nested_numbers_alone(run: Path) -> None:
    account(run / "out", NAMES)
    summary = json.loads((run / "out/costs.summary.json").read_text())
    leaves: list[object] = [summary]
    while any(isinstance(leaf, dict) for leaf in leaves):
        leaves = [x for leaf in leaves for x in (leaf.values() if isinstance(leaf, dict) else [leaf])]
    assert all(isinstance(leaf, (int, float)) for leaf in leaves)
    assert summary["aligners"]["default"]["trainable"] == 3
    assert summary["stages"]["encode"]["seconds"] == 4.0


def test_the_terminal_shows_all_three_tables(run: Path) -> None:
    text = account(run / "out", NAMES)
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line}
    assert lines["encode"][1:4] == ["3", "4.0", "0"]
    assert lines["train"][2] == "restored"
    assert lines["default"][1:6] == ["3", "5", "39", "7.69%", "48"]
    assert lines["poster.compute_openai_clip"][1:] == ["54.6", "65x"]


def test_equal_data_give_equal_bytes(run: Path) -> None:
    account(run / "one", NAMES)
    account(run / "two", NAMES)
    for name in ("costs.json", "costs.summary.json"):
        assert (run / "one" / name).read_bytes() == (run / "two" / name).read_bytes()


def test_what_a_stage_wrote_does_not_depend_on_links(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/one").write_bytes(b"12345")
    os.link(tmp_path / "a/one", tmp_path / "a/b/two")  # as DVC links equal files to one object of its cache
    (tmp_path / "a/b/three").write_bytes(b"123")
    assert written([tmp_path / "a"]) == (13, 3)
    assert written([tmp_path / "a/one", tmp_path / "a/b"]) == (13, 3)


def test_parameters_are_counted_in_every_part_of_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "2_Dense").mkdir()
    save_file({"w": np.zeros((4, 4), np.float16), "s": np.zeros((), np.float32)}, tmp_path / "model.safetensors")
    save_file({"w": np.zeros(9, np.float32), "ids": np.zeros(50, np.int64)}, tmp_path / "2_Dense/model.safetensors")
    assert parameter_count(tmp_path) == 16 + 1 + 9


@pytest.mark.parametrize(
    "content", [b"", b"abc", b"\xff" * 8 + b"{}", (5).to_bytes(8, "little") + b"{nono", b"\x02" + b"\0" * 7 + b"[]"]
)
def test_what_is_no_safetensors_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="model.safetensors is not a safetensors file"):
        parameter_count(tmp_path)


def test_a_checkpoint_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected weights"):
        parameter_count(tmp_path)


def test_an_aligner_of_an_earlier_run_is_left_out_by_name(run: Path) -> None:
    path = run / "data/models/again/config.json"
    config = json.loads(path.read_text())
    put(path, config | {"fingerprints": {"image": "digest", "text": "digest"}})
    content = costs(run)
    assert [entry["aligner"] for entry in content["aligners"]] == ["default"]
    (reason,) = content["left_out"]
    assert reason.startswith("aligner again: it records no whole fingerprint of view eye")
    put(path, config)
    shutil.rmtree(run / "data/checkpoints/words")
    content = costs(run)
    assert content["aligners"] == []
    assert "the encoder of view words" in content["left_out"][1]
    assert "WITHOUT aligner default: the encoder of view words" in account(run / "out", NAMES)


def test_damaged_files_are_named(run: Path) -> None:
    path = run / "data/models/default/config.json"
    config = json.loads(path.read_text())
    put(path, {key: value for key, value in config.items() if key != "parameters"})
    with pytest.raises(DataError, match="expected the field 'parameters'"):
        account(run / "out", NAMES)
    path.write_text("{")
    with pytest.raises(DataError, match="default/config.json cannot be read as JSON"):
        account(run / "out", NAMES)
    path.unlink()
    with pytest.raises(DataError, match="default/config.json cannot be read"):
        account(run / "out", NAMES)
    assert not (run / "out/costs.json").exists()


def test_what_params_do_not_name_is_not_counted(run: Path) -> None:
    before = costs(run)
    put(run / "data/checkpoints/.gitignore", {})
    put(run / "data/models/.new.partial/config", {})
    put(run / "data/index/pairs/earlier/about.json", {})
    shutil.copytree(run / "data/models/default", run / "data/models/earlier")
    put(run / "data/results/earlier.json", {})
    after = costs(run)
    assert [entry["stage"] for entry in after["stages"]] == [entry["stage"] for entry in before["stages"]]
    assert (after["aligners"], after["left_out"]) == (before["aligners"], before["left_out"])


def test_the_machine_is_described(tmp_path: Path) -> None:
    found = describe_machine()
    assert found["cpus"] >= 1
    assert found["memory_bytes"] > 1e8
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Some CPU: fast\nmodel name : other\n")
    assert cpu_model(tmp_path / "cpuinfo") == "Some CPU: fast"


def test_the_journal_is_the_one_that_the_encode_loop_writes() -> None:
    from pipeline.accounting.stages import ENCODE_JOURNAL

    assert Path("scratch") / JOURNAL == ENCODE_JOURNAL


def test_no_heavy_library_is_imported() -> None:
    code = "import sys, stages.accounting; print(sorted({'torch', 'transformers', 'timm'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_a_fused_side_counts_every_encoder_once_and_what_an_input_takes_in_all_of_them(run: Path) -> None:
    path = run / "data/models/default/config.json"
    config = json.loads(path.read_text())
    image, text = config["fingerprints"]["image"], config["fingerprints"]["text"]
    fused = fused_fingerprint({"eye": image, "words": text})
    put(path, config | {"views": {"image": "both", "text": "words"}, "fingerprints": {"image": fused, "text": text}})
    content = costs(run)
    again, default = content["aligners"]
    assert default["image_encoder"] == {
        "view": "both",
        "model": "eye-net + words-net",
        "parameters": EYE + WORDS,
        "members": [
            {"view": "eye", "model": "eye-net", "parameters": EYE},
            {"view": "words", "model": "words-net", "parameters": WORDS},
        ],
    }
    assert default["total"] == 3 + 5 + EYE + WORDS, "the encoder that both sides share counts once"
    assert again["seconds_at_use"] == pytest.approx({"image": 0.3, "text": 0.05})
    assert default["seconds_at_use"] == pytest.approx({"image": 0.35, "text": 0.05})
    ratios = {entry["name"]: entry for entry in content["ratios"]}
    in_loop = 48 + 2 * 48 + 2 * 24  # eye and words of the fused side, words of its texts; and both of the other aligner
    assert ratios["encode_once.rows_through_backbones"]["value"] == pytest.approx(in_loop / (10 + 25))
    put(path, config | {"fingerprints": {"image": fused | {"digest": "x"}, "text": text}})
    (left,) = costs(run)["left_out"]
    assert "aligner default: it records no whole fingerprint of view eye" in left
