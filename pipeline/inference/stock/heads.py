"""A head as steps: what of it has a form in the modules of sentence-transformers, and what has none.

An image comes as its CLS token and the mean of its patch tokens in a row, (B, 2 D), a text as one vector. The last
division by the length is not among the steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor, nn

from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.fitted import RBF, Affine, Blocks, Fourier, Relative
from pipeline.alignment.heads.freeze_align import FreezeAlign, GlobalMLP, TokenProjector
from pipeline.alignment.heads.networks import MLP, GatedLowRank
from pipeline.alignment.heads.two_networks import TwoNetworks
from pipeline.alignment.heads.whitened import Whitened
from pipeline.config import ImageVector
from pipeline.errors import ModelError
from pipeline.inference.stock.steps import LayerNorm, Linear, Step, folded

IMAGE, TEXT = "image", "text"


@dataclass(frozen=True)
class Kernel:
    """exp(-gamma |x - anchor|^2) @ weight: the prediction of kernel ridge regression.

    Attributes:
        before: what makes x of the input.
        anchors: (N, D).
        weight: (N, M).
    """

    before: Linear
    anchors: Tensor
    gamma: float
    weight: Tensor

    def logits(self) -> Linear:
        """2 gamma x . anchor - gamma |anchor|^2, (B, N): the exponent but for -gamma |x|^2, alike for all anchors."""
        (joined,) = folded(
            [self.before, Linear(2 * self.gamma * self.anchors, -self.gamma * self.anchors.square().sum(1))]
        )
        assert isinstance(joined, Linear)
        return joined


def refuse(what: str) -> NoReturn:
    """Say that something has no stock form.

    Raises:
        ModelError: always.
    """
    raise ModelError(
        f"{what} cannot be written with the modules of sentence-transformers. Export it with export_onnx() instead."
    )


def side_of(head: Head, side: str, width: int) -> list[Step] | Kernel:
    """One side of a head that is not an ensemble.

    Args:
        width: D of an image, or the width of a text.

    Raises:
        ModelError: it has no stock form.
    """
    if isinstance(head, Whitened):
        return _whitened(head, side, width)
    if isinstance(head, TwoNetworks):
        network = head.image if side == IMAGE else head.text
        first = selected(head.image_kind, width) if side == IMAGE else _identity(width)
        return _network(network, first)
    if isinstance(head, FreezeAlign):
        return _freeze_align(head, side, width)
    refuse(f"The head {type(head).__name__}")


def selected(kind: ImageVector, width: int) -> Linear:
    """The vector that a head takes of an image, out of CLS token and patch mean."""
    eye, nothing = torch.eye(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
    blocks = {"cls": [eye, nothing], "mean": [nothing, eye], "sum": [eye, eye]}
    return Linear(torch.eye(2 * width, dtype=torch.float64) if kind == "concat" else torch.cat(blocks[kind], dim=1))


def _whitened(head: Whitened, side: str, width: int) -> list[Step] | Kernel:
    if isinstance(head.cls_map, Blocks) or isinstance(head.local_map, Blocks) or isinstance(head.text_map, Blocks):
        raise ModelError("A head of fused views has no stock form; use it through Aligner.")
    inner = side_of(head.head, side, width)
    if side == TEXT:
        first = None if head.text_map is None else affine(head.text_map, width)
    elif head.cls_map is None or head.local_map is None:
        first = None
    else:
        parts = [affine(head.cls_map, width), affine(head.local_map, width)]
        biases = [_bias(part) for part in parts]
        weight = torch.block_diag(*(part.weight for part in parts))  # type: ignore[no-untyped-call]
        first = Linear(weight, torch.cat(biases))
    if first is None:
        return inner
    if isinstance(inner, Kernel):
        (before,) = folded([first, inner.before])
        assert isinstance(before, Linear)
        return Kernel(before, inner.anchors, inner.gamma, inner.weight)
    return folded([first, *inner])


def affine(module: Affine, width: int) -> Linear:
    """(x - mean) @ matrix."""
    weight = _double(module.matrix).T if module.matrix.numel() else torch.eye(width, dtype=torch.float64)
    return Linear(weight, -weight @ _double(module.mean))


def _network(network: nn.Module, first: Linear) -> list[Step] | Kernel:
    modules = [m for m in (network if isinstance(network, nn.Sequential) else [network]) if not _does_nothing(m)]
    if isinstance(network, GatedLowRank):
        return folded([first, *_gated_low_rank(network)])
    if any(isinstance(module, RBF) for module in modules):
        return _kernel(modules, first)
    steps: list[Step] = [first]
    for module in modules:
        if isinstance(module, Affine):
            width = steps[-1].weight.shape[0] if isinstance(steps[-1], Linear) else 0
            steps.append(affine(module, width))
        elif isinstance(module, nn.Linear):
            steps.append(linear(module))
        elif isinstance(module, nn.LayerNorm):
            steps.append(layer_norm(module))
        elif isinstance(module, nn.GELU) and isinstance(network, MLP) and isinstance(steps[-1], Linear):
            steps[-1] = Linear(steps[-1].weight, steps[-1].bias, "GELU")
        else:
            refuse(_named(module))
    return folded(steps)


def _kernel(modules: Sequence[nn.Module], first: Linear) -> Kernel:
    """Centring or whitening, the kernel, and weights without a constant."""
    if len(modules) != 3 or not isinstance(modules[1], RBF):
        refuse("A kernel that is followed by something else than its weights")
    before, kernel, after = modules
    assert isinstance(before, Affine)
    assert isinstance(kernel, RBF)
    assert isinstance(after, Affine)
    if after.mean.any():
        refuse("Kernel ridge on landmarks (`features: nystrom`), whose features are centred,")
    (joined,) = folded([first, affine(before, first.weight.shape[0])])
    assert isinstance(joined, Linear)
    return Kernel(joined, _double(kernel.anchors), float(kernel.gamma), _double(after.matrix))


def _gated_low_rank(network: GatedLowRank) -> list[Step]:
    down, up = linear(network.down), linear(network.up)
    gate = float(network.gate.detach())
    return beside_gelu(linear(network.skip), down, Linear(gate * up.weight, gate * _bias(up)))


def beside_gelu(direct: Linear, inner: Linear, outer: Linear) -> list[Step]:
    """direct(x) + outer(GELU(inner(x))): GELU(y) - GELU(-y) = y carries the direct part through the activation."""
    none = torch.zeros(direct.weight.shape[0], dtype=torch.float64)
    weight, bias = direct.weight, none if direct.bias is None else direct.bias
    eye = torch.eye(len(none), dtype=torch.float64)
    return [
        Linear(torch.cat([weight, -weight, inner.weight]), torch.cat([bias, -bias, _bias(inner)]), "GELU"),
        Linear(torch.cat([eye, -eye, outer.weight], dim=1), outer.bias),
    ]


def _freeze_align(head: FreezeAlign, side: str, width: int) -> list[Step]:
    if side == IMAGE:
        if head.vision_local is not None:
            refuse("Freeze-Align's projector of every local token")
        return folded([selected("cls", width), *_token_projector(head.vision_cls)])
    return folded([_identity(width), *_token_projector(head.text_token), *_global_mlp(head.text_global)])


def _token_projector(module: TokenProjector) -> list[Step]:
    steps = beside_gelu(linear(module.linear), linear(module.hidden), linear(module.output))
    return [layer_norm(module.norm), *steps]


def _global_mlp(module: GlobalMLP) -> list[Step]:
    width = module.input.out_features
    return [linear(module.input), *beside_gelu(_identity(width), _identity(width), linear(module.output)),
            layer_norm(module.norm)]  # fmt: skip


def linear(module: nn.Linear) -> Linear:
    """A layer of torch."""
    return Linear(_double(module.weight), None if module.bias is None else _double(module.bias))


def layer_norm(module: nn.LayerNorm) -> LayerNorm:
    """A layer of torch, of the epsilon that sentence-transformers' own has."""
    if module.eps != nn.LayerNorm(1).eps:
        refuse(f"A LayerNorm of epsilon {module.eps}")
    return LayerNorm(_double(module.weight), _double(module.bias))


def _identity(width: int) -> Linear:
    return Linear(torch.eye(width, dtype=torch.float64))


def _bias(step: Linear) -> Tensor:
    return torch.zeros(len(step.weight), dtype=torch.float64) if step.bias is None else step.bias


def _does_nothing(module: nn.Module) -> bool:
    return isinstance(module, nn.Dropout | nn.Identity)


def _named(module: nn.Module) -> str:
    names = {Fourier: "The cosines of random features", Relative: "The nearest anchors of ASIF"}
    return names.get(type(module), f"The layer {type(module).__name__}")


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()
