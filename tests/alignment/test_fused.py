"""What is computed of a block goes through torch.compile on a GPU: a CPU and the test's own backend stand in for it."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from pipeline.alignment.losses import chunked, chunked_info_nce, chunked_sigmoid, info_nce, sigmoid_loss
from pipeline.alignment.losses.fused import Fused
from tests.alignment.test_chunked import inputs, positives, value_and_gradients


def _compiled(monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    """What is computed of a block goes through torch.compile on a CPU too."""
    torch.compiler.reset()
    for name in ("info_nce_sums", "info_nce_slope", "sigmoid_sum", "sigmoid_slope"):
        fused = Fused(getattr(chunked, name).__wrapped__, ("cpu",), backend)
        monkeypatch.setattr(chunked, name, fused)


def test_fused_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as on a GPU, blocks of two sizes, and run from the traced graph."""
    graphs: list[object] = []

    def backend(module: Any, _inputs: Any) -> Any:
        graphs.append(module)
        return module.forward

    _compiled(monkeypatch, backend)
    whole = value_and_gradients(lambda i, t, s: info_nce(i, t, s, positives()), 3)
    torch.testing.assert_close(value_and_gradients(lambda i, t, s: chunked_info_nce(i, t, s, positives, 7), 3), whole)
    whole = value_and_gradients(lambda i, t, s, b: sigmoid_loss(i, t, s, b, positives(), 7), 4)
    blocks = value_and_gradients(lambda i, t, s, b: chunked_sigmoid(i, t, s, b, positives, 7, 7), 4)
    torch.testing.assert_close(blocks, whole)
    assert len(graphs) >= 4


def test_blocks_under_vmap_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(_module: Any, _inputs: Any) -> Any:
        raise AssertionError("compiled")

    _compiled(monkeypatch, backend)
    image, text, scale, _ = (x.detach() for x in inputs())

    def by_image(one: Tensor) -> Tensor:
        return chunked_info_nce(one, text, scale, positives, 7)

    def whole(one: Tensor) -> Tensor:
        return info_nce(one, text, scale, positives())

    stack = torch.stack([image, image + text])
    torch.testing.assert_close(vmap(grad(by_image))(stack), torch.stack([grad(whole)(one) for one in stack]))


def test_blocks_that_cannot_be_compiled_run_as_they_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def backend(_module: Any, _inputs: Any) -> Any:
        tries.append(1)
        raise RuntimeError("no compiler")

    _compiled(monkeypatch, backend)
    whole = value_and_gradients(lambda i, t, s: info_nce(i, t, s, positives()), 3)
    for _ in range(2):
        found = value_and_gradients(lambda i, t, s: chunked_info_nce(i, t, s, positives, 7), 3)
        torch.testing.assert_close(found, whole)
    warned = [record.getMessage() for record in caplog.records if "cannot be compiled here" in record.getMessage()]
    assert len(warned) == len(tries) == 2  # the sums and the slope, once each
    assert "no compiler" in warned[0]
