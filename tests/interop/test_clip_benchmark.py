"""CLIP_benchmark's command line on an exported test split gives the figures of the stages."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from pipeline.datasets.tables import JOINT_PAIRS, read_table, write_table
from pipeline.evaluation import evaluate_task
from pipeline.evaluation.results import TaskResult
from pipeline.interop import clip_benchmark, export
from pipeline.interop.clip_model import load_clip_model, tokenize, untokenize
from tests.aligner.conftest import aligner
from tests.interop.conftest import EVALUATE, SPECS

ALIGNERS = sorted(SPECS)


def stage(task: str, name: str) -> dict[str, float]:
    result: TaskResult = evaluate_task(task, SPECS, EVALUATE, repeats=2, seed=0)
    assert not result.left_out
    return {row.metric: row.value for row in result.rows if row.aligner == name}


def benchmark(name: str, exported: Path, out: Path, *options: str) -> dict[str, float]:
    arguments = ["eval", "--model", f"data/models/{name}", "--pretrained", "0", "--dataset", f"wds/{exported.name}"]
    arguments += ["--dataset_root", str(exported), "--num_workers", "0", "--batch_size", "4", "--quiet"]
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


def test_the_model_gives_the_vectors_of_the_aligner(inside: Path) -> None:
    model, transform, tokenizer = load_clip_model("data/models/grid", 1, "cpu")
    one = aligner_of(inside)
    pictures = [Image.open(path) for path in sorted((inside / "pictures").glob("*.png"))]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images = model.encode_image(torch.stack([transform(picture) for picture in pictures]))
        texts = model.encode_text(tokenizer(["a jacket", "été", ""]))
    assert images.dtype == texts.dtype == torch.float32
    np.testing.assert_allclose(images.numpy(), one.encode_image(pictures), atol=1e-3)
    np.testing.assert_allclose(texts.numpy(), one.encode_text(["a jacket", "été", ""]), atol=1e-3)


def aligner_of(root: Path):  # type: ignore[no-untyped-def]
    from tests.aligner.conftest import Project

    return aligner(Project(root), "grid", repeat=1)  # type: ignore[arg-type]


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
