"""Two heads whose cosines add, as steps: their vectors at unit length side by side.

No module brings parts of a vector to unit length apart, and none joins two. But the last division by the length
only needs the two parts in the right proportion, [a, b] / |.| with a and b unit vectors, and there is a way to it:

1. [A, e B] / |.| = [a, e B / |A|] for small e.
2. [d a, B / |A|, d] / |.| = [d a r, b, d r] with r = |A| / |B|, for small d.
3. [a r, b r], by a product of b with the number r, divided by its length.

The product is made of gates: x sigmoid(y) is what torch's GLU gives, and 2 sigmoid(y) - 1 = tanh(y / 2) = y / 2 - ...;
four multiples of y cancel the terms of third, fifth and seventh order. A Gaussian kernel, where a part has one, is a
gate as well, since sigmoid(y) is exp(y) for y far below 0.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.inference.stock.heads import Kernel, refuse
from pipeline.inference.stock.steps import Linear, Step, Unit, folded, run

_SMALL = 1e-5  # e and d: their squares vanish in float32
_GATE = 0.06  # typical y: larger ones bend, smaller ones drown in rounding
_FAR = 17.0  # exp(-17) = 4e-8, the error of sigmoid for exp
_TERMS = ((1, 8 / 5), (2, -2 / 5), (3, 8 / 105), (4, -1 / 140))  # multiples k, shares s: sum s k = 1, s k^3.. = 0


def joined(sides: Sequence[list[Step] | Kernel], weights: Sequence[float], sample: Tensor) -> list[Step]:
    """Steps that give [root of weight * unit vector of each part] but for one division by the length.

    Args:
        sides: two heads' side each, linear or a kernel.
        weights: of the cosines.
        sample: (B, D) typical inputs, from which scales are set; other inputs may differ from them tenfold.

    Raises:
        ModelError: more than two parts, or a part of another form.
    """
    if len(sides) != 2:
        refuse(f"A sum of {len(sides)} cosines")
    parts, raw = _raw(sides, sample.double())
    values = run(raw, sample.double())
    first, second = values[:, : parts[0]], values[:, parts[0] :]
    scale_a, scale_b = (float(part.norm(dim=1).median().clamp_min(1e-30)) for part in (first, second))
    return folded([*raw, *_balanced(parts, scale_a, scale_b, weights)])


def _raw(sides: Sequence[list[Step] | Kernel], sample: Tensor) -> tuple[tuple[int, int], list[Step]]:
    """Widths, and steps to both parts in a row, before any division."""
    kernels = [side for side in sides if isinstance(side, Kernel)]
    plain = [_only_linear(side) for side in sides if not isinstance(side, Kernel)]
    if not kernels:
        width = (plain[0].weight.shape[0], plain[1].weight.shape[0])
        return width, [Linear(torch.cat([p.weight for p in plain]), torch.cat([_bias(p) for p in plain]))]
    if len(kernels) == 2:
        refuse("A sum of two kernels' cosines")
    (kernel,), (other,) = kernels, plain
    logits, anchors, through = kernel.logits(), len(kernel.anchors), len(other.weight)
    x = torch.cat([kernel.before(sample), kernel.anchors])
    shift = _FAR + kernel.gamma * float(x.square().sum(1).max())  # logits are at most gamma |x|^2
    nothing = torch.zeros_like(logits.weight), torch.zeros_like(other.weight)
    weight = torch.cat([nothing[0], other.weight, logits.weight, nothing[1]])
    ones, none = torch.ones(anchors, dtype=torch.float64), torch.zeros(through, dtype=torch.float64)
    bias = torch.cat([ones, _bias(other), _bias(logits) - shift, none])
    gates = Linear(weight, bias, "GLU")  # [sigmoid(logits), other / 2]
    value = (kernel.weight * torch.exp(torch.tensor(shift, dtype=torch.float64))).T
    twice = 2 * torch.eye(through, dtype=torch.float64)
    blocks = _diagonal(value, twice)
    width = (len(value), through)
    if sides[0] is not kernel:
        blocks, width = torch.cat([blocks[len(value) :], blocks[: len(value)]]), (through, len(value))
    return width, [gates, Linear(blocks)]


def _balanced(parts: tuple[int, int], scale_a: float, scale_b: float, weights: Sequence[float]) -> list[Step]:
    a, b = parts
    eye_a, eye_b = (torch.eye(part, dtype=torch.float64) for part in parts)
    first = Linear(_diagonal(eye_a / scale_a, _SMALL * eye_b / scale_b))
    lifted = _diagonal(_SMALL * eye_a, eye_b / _SMALL)
    second = Linear(
        torch.cat([lifted, torch.zeros(1, a + b, dtype=torch.float64)]),
        torch.cat([torch.zeros(a + b, dtype=torch.float64), torch.tensor([_SMALL], dtype=torch.float64)]),
    )
    total = a + b + 1
    values = torch.zeros(a + (1 + len(_TERMS)) * b, total, dtype=torch.float64)
    gates = torch.zeros_like(values)
    values[:a, :a] = eye_a / _SMALL  # a r, through an open gate
    for group in range(1 + len(_TERMS)):
        rows = slice(a + group * b, a + (group + 1) * b)
        values[rows, a : a + b] = eye_b
        if group:
            gates[rows, a + b] = _TERMS[group - 1][0] * _GATE / _SMALL
    product = Linear(torch.cat([values, gates]), None, "GLU")
    roots = [(weight / sum(weights)) ** 0.5 for weight in weights]
    factor = 2 / _GATE
    last = torch.zeros(a + b, len(values), dtype=torch.float64)
    last[:a, :a] = 2 * roots[0] * eye_a
    last[a:, a : a + b] = -2 * roots[1] * factor * sum(share for _, share in _TERMS) * eye_b
    for group, (_, share) in enumerate(_TERMS, start=1):
        last[a:, a + group * b : a + (group + 1) * b] = 2 * roots[1] * factor * share * eye_b
    return [first, Unit(), second, Unit(), product, Linear(last)]


def _diagonal(first: Tensor, second: Tensor) -> Tensor:
    joined: Tensor = torch.block_diag(first, second)  # type: ignore[no-untyped-call]
    return joined


def _only_linear(side: list[Step] | Kernel) -> Linear:
    steps = folded(side) if isinstance(side, list) else []
    if len(steps) != 1 or not isinstance(steps[0], Linear) or steps[0].activation != "Identity":
        refuse("A sum of cosines of which one is of a network")
    return steps[0]


def _bias(step: Linear) -> Tensor:
    return torch.zeros(len(step.weight), dtype=torch.float64) if step.bias is None else step.bias
