"""What README says that its snippet prints, is what it prints."""

import ast
import contextlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.alignment.closed_form.fit import fit_closed, resolved
from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.data.resident import ResidentFeatures
from pipeline.config import load_config

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
WIDTH = 384  # of ViT-S and of MiniLM-L6


def snippet() -> list[str]:
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL) if "Aligner" in block)
    return str(code).splitlines()


def shapes() -> dict[str, tuple[int, ...]]:
    """The shape that a comment gives, by the variable of its line."""
    found = (re.match(r"(\w+) = .*# (\(\d+, \d+\))", line) for line in snippet())
    return {match[1]: ast.literal_eval(match[2]) for match in found if match}


def test_vectors_of_the_default_are_as_wide_as_it_says() -> None:
    config = load_config(ROOT / "params.yaml").params
    head = config.aligners["default"].head
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.randn(60, WIDTH, generator=generator).half() for _ in range(2))
    features = ResidentFeatures(
        ImageInput(images, images[:, None].repeat(1, 2, 1)), TextInput.from_pooled(texts), torch.device("cpu")
    )
    rows = torch.arange(60)[:, None].repeat(1, 2)
    data = AlignmentData(features, (rows[:50],), (rows[50:],), {}, ("toy",))
    fitted, _, _ = fit_closed(resolved(head, data)[0], data, 0, seed=0)  # type: ignore[arg-type]
    of_images = fitted.image_features(features.images.read(torch.arange(2)))
    of_texts = fitted.text_features(features.texts.read(torch.arange(2)))
    assert shapes() == {"images": tuple(of_images.shape), "texts": tuple(of_texts.shape)}


def test_the_snippet_is_whole_and_shows_what_it_prints() -> None:
    ast.parse("\n".join(snippet()))
    assert set(shapes()) == {"images", "texts"}
    assert any(re.search(r"print\(.*# \[\[", line) for line in snippet())
    assert any(re.search(r"classify\(.*# \w+, at \.\d+", line) for line in snippet())


@pytest.mark.skipif(not (ROOT / "data/models/default/config.json").is_file(), reason="no default run here: make repro")
def test_a_run_prints_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    for line in snippet():
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            if line.startswith("aligner.classify"):
                line = f"labels_ = {line}"
            exec(line, names)
        if match := re.search(r"# (\w+), at (\.\d+)", line):
            best = names["labels_"][0]
            assert (best.name, best.probability) == (match[1], pytest.approx(float(match[2]), abs=5e-3))
        if match := re.search(r"# (\[\[.*\]\])", line):
            numbers = [float(text) for text in re.findall(r"-?\d+\.\d+", printed.getvalue())]
            assert np.allclose(numbers, np.ravel(ast.literal_eval(match[1])), atol=0.02)
    assert {name: tuple(names[name].shape) for name in shapes()} == shapes()
