"""CLIP_benchmark's command line on an exported test split gives the figures of the stages."""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from pipeline.config import (
    ClassificationParams,
    ClassificationSet,
    ClipBenchmarkSource,
    EncoderSpec,
    EvaluateSettings,
    ImageView,
    SplitsParams,
)
from pipeline.datasets.index import build_index
from pipeline.datasets.splits import build_splits
from pipeline.datasets.tables import JOINT_PAIRS, read_table, write_table
from pipeline.encoders.manifest import read_manifest
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.load import image_rows
from pipeline.encoding.plan import image_plan
from pipeline.encoding.run import StoreEncoder
from pipeline.evaluation import evaluate_task
from pipeline.evaluation.results import TaskResult
from pipeline.interop import clip_benchmark, export
from pipeline.interop.clip_model import load_clip_model, tokenize, untokenize
from pipeline.paths import WORK_VARIABLE
from tests.inference.conftest import PARAMS, Project, aligner
from tests.interop.conftest import EVALUATE, LABEL, SPECS, TASKS, encode_prompts

ALIGNERS = sorted(SPECS)


def stage(task: str, name: str) -> dict[str, float]:
    result: TaskResult = evaluate_task(
        EvaluateSettings(name=task, task=TASKS[task], evaluate=EVALUATE, aligners=SPECS, repeats=2, seed=0)
    )
    assert not result.left_out
    return {row.metric: row.value for row in result.rows if row.aligner == name}


def benchmark(name: str, exported: Path, out: Path, *options: str, repeat: int = 0) -> dict[str, float]:
    arguments = ["eval", "--model", f"data/models/{name}", "--pretrained", str(repeat)]
    arguments += ["--dataset", f"wds/{exported.name}"]
    arguments += ["--dataset_root", str(exported), "--batch_size", "4", "--quiet"]
    assert clip_benchmark.main([*arguments, "--output", str(out), *options]) == 0
    metrics: dict[str, float] = json.loads(out.read_text())["metrics"]
    return metrics


@pytest.mark.parametrize("name", ALIGNERS)
@pytest.mark.usefixtures("inside")
def test_classification(name: str, tmp_path: Path) -> None:
    exported = tmp_path / "mine"
    arguments = ["classification", str(exported), "--dataset", "mine", "--label", "concept"]
    assert export.main([*arguments, "--prompt-set", "ensemble"]) == 0
    found = benchmark(
        name, exported, tmp_path / "found.json", "--custom_template_file", str(exported / "templates.json")
    )
    ours = stage("classification", name)
    assert found == pytest.approx(
        {
            "acc1": ours["concept_top1_accuracy"],
            "acc5": ours["concept_top5_accuracy"],
            "mean_per_class_recall": ours["concept_mean_per_class_accuracy"],
        }
    )


@pytest.mark.parametrize("name", ALIGNERS)
@pytest.mark.usefixtures("inside")
def test_retrieval(name: str, tmp_path: Path) -> None:
    exported = tmp_path / "mine"
    assert export.main(["retrieval", str(exported), "--dataset", "mine"]) == 0
    options = ("--task", "zeroshot_retrieval", "--recall_k", "1", "2", "5")
    found = benchmark(name, exported, tmp_path / "found.json", *options)
    ours = stage("retrieval", name)
    expected = {f"text_retrieval_recall@{k}": ours[f"i2t_recall@{k}"] for k in (1, 2, 5)}
    expected |= {f"image_retrieval_recall@{k}": ours[f"t2i_recall@{k}"] for k in (1, 2, 5)}
    assert found == pytest.approx(expected)


def test_there_and_back(inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What CLIP_benchmark reads, read by us as a data set for transfer, gives its figures too."""
    exported = tmp_path / "theirs"
    assert export.main(["classification", str(exported), "--dataset", "mine", "--prompt-set", "ensemble"]) == 0
    templates = str(exported / "templates.json")
    found = benchmark("grid", exported, tmp_path / "found.json", "--custom_template_file", templates)
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    for part in ("checkpoints", "models", "features", "index"):
        shutil.copytree(inside / "data" / part, tmp_path / "data" / part)
    (tmp_path / "words").symlink_to(inside / "words")
    monkeypatch.chdir(tmp_path)
    source = ClipBenchmarkSource(source="clip-benchmark", path=str(exported), transfer=True)
    indexes = {name: Path("data/index/pairs", name) for name in ("mine", "theirs")}
    build_index(source, indexes["theirs"], tmp_path)
    build_splits(indexes, SplitsParams(repeats=2, largest_family=0.2), 0, Path("data/splits"))
    label = ClassificationSet(dataset="theirs", label="concept")
    encode_prompts(tmp_path, (LABEL, label), tmp_path / "work")
    eye = EncoderSpec(modality="image", source="local", model=str(inside / "eye"), loader="transformers", layers=(1, 2))
    checkpoint, view = Path("data/checkpoints/eye"), ImageView(encoder="eye", resolution=42, tier="grid", grid=2)
    fingerprint = fingerprint_of(read_manifest(checkpoint), eye, view)
    rows = image_rows(checkpoint, eye, view, indexes["theirs"], PARAMS)
    out = Path("data/features/pairs/grid/theirs")
    StoreEncoder("theirs", fingerprint, lambda: rows, 0.5).run(image_plan(indexes["theirs"], 8), out)
    settings = EvaluateSettings(
        name="classification",
        task=ClassificationParams(classes=(label,), prompt_sets=("ensemble",)),
        evaluate=EVALUATE.model_copy(update={"control": "grid"}),
        aligners={"grid": SPECS["grid"]},
        repeats=2,
        seed=0,
    )
    result = evaluate_task(settings)
    values = {row.metric: row for row in result.rows}
    assert values["concept_top1_accuracy"].n_items == 20  # ten pictures, the heads of two repeats
    again = benchmark("grid", exported, tmp_path / "again.json", "--custom_template_file", templates, repeat=1)
    assert values["concept_top1_accuracy"].value == pytest.approx((found["acc1"] + again["acc1"]) / 2)
    assert values["concept_top5_accuracy"].value == pytest.approx((found["acc5"] + again["acc5"]) / 2)


def test_the_model_gives_the_vectors_of_the_aligner(inside: Path) -> None:
    model, transform, tokenizer = load_clip_model("data/models/grid", 1, "cpu")
    one = aligner(Project(inside), "grid", repeat=1)  # type: ignore[arg-type]
    pictures = [Image.open(path) for path in sorted((inside / "pictures").glob("*.png"))]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images = model.encode_image(torch.stack([transform(picture) for picture in pictures]))
        texts = model.encode_text(tokenizer(["a jacket", "été", ""]))
    assert images.dtype == texts.dtype == torch.float32
    np.testing.assert_allclose(images.numpy(), one.encode_image(pictures), atol=1e-3)
    np.testing.assert_allclose(texts.numpy(), one.encode_text(["a jacket", "été", ""]), atol=1e-3)


def test_texts_survive_the_tokenizer() -> None:
    texts = ["a jacket", "", "été 冬 \U0001f9ca", "two\nlines"]
    assert untokenize(tokenize(texts)) == texts


@pytest.mark.usefixtures("inside")
def test_what_others_would_count_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    for part in ("index", "splits"):
        (tmp_path / "data" / part).symlink_to(Path("data", part).resolve())
    monkeypatch.chdir(tmp_path)
    assert export.main(["retrieval", "out", "--dataset", "mine", "--split", "validation"]) == 1
    assert "split 'validation' of repeat 0" in capsys.readouterr().err
    pairs = read_table(Path("data/splits/pairs.parquet")).to_pylist()
    for row in pairs:
        row["text_id"] = pairs[0]["text_id"]
    samples = read_table(Path("data/splits/samples.parquet"))
    Path("data/splits").unlink()
    write_table(samples, Path("data/splits/samples.parquet"))
    write_table(pa.Table.from_pylist(pairs, schema=JOINT_PAIRS), Path("data/splits/pairs.parquet"))
    assert export.main(["retrieval", "out", "--dataset", "mine"]) == 1
    assert "9 captions of mine" in capsys.readouterr().err
    assert clip_benchmark.main(["eval", "--model", "data/models/grid", "--pretrained", "laion2b"]) == 1
    assert "a number from 0; found 'laion2b'" in capsys.readouterr().err


@pytest.mark.usefixtures("inside")
def test_pictures_are_exported_as_the_encoders_see_them(tmp_path: Path) -> None:
    assert export.main(["classification", str(tmp_path / "mine"), "--dataset", "mine"]) == 0
    with tarfile.open(tmp_path / "mine/test/0.tar") as archive:
        names = archive.getnames()
        with archive.extractfile(names[0]) as file:  # type: ignore[union-attr]
            picture = Image.open(file)
            picture.load()
    assert len(names) == 20
    assert picture.mode == "RGB"
    assert picture.getpixel((0, 0)) == (255, 255, 255)  # transparency is laid on white
