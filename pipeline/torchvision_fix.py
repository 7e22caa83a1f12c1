"""Makes torchvision importable beside a PyTorch build that its compiled operators do not fit.

The usual wheel of torchvision is built for CUDA. Beside a CPU build of PyTorch it cannot load its compiled operators,
and its own import then fails while it describes two of them. transformers and timm import torchvision, so they fail
too, although nothing here needs more of it than image transforms in Python.
"""

import importlib

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_kept_alive: list[torch.library.Library] = []  # a library takes its operators with it when it is collected


def ensure_torchvision() -> None:
    """Import torchvision; where its compiled operators are absent, declare the two that its import asks for.

    Call this before the first import of transformers, timm or sentence-transformers. A working torchvision is not
    touched. The declared operators have no implementation: calling one is an error, as it was before.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if _kept_alive or "torchvision::nms" not in str(error):
            raise
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            library.define(operator + _SCHEMA)  # type: ignore[no-untyped-call]
        _kept_alive.append(library)
        importlib.import_module("torchvision")
