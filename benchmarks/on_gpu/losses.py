"""InfoNCE and the sigmoid loss, forward and backward, at large batches: ours, torch, torch.compile, public kernels.

Unit vectors in bfloat16 under autocast, as in a training step; the temperature is learned, except by memeff. Before the
clock starts, the gradients of every side are compared with those of float64 at 1,024 pairs.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.on_gpu.common import Recorded, say, seconds_of
from pipeline.alignment.losses import chunked_info_nce, chunked_sigmoid, info_nce, sigmoid_loss
from pipeline.alignment.losses.positives import EVERY, equal

WIDTH, BATCHES, CHECKED = 1024, (16_384, 32_768, 65_536), 1024
SCALE, BIAS = 1 / 0.07, -10.0
WHOLE_MOST = 32_768  # pairs up to which a whole matrix is tried
Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # images, texts, scale, bias


def _own(count: int, device: torch.device) -> Any:
    ids = torch.arange(count, device=device)
    return lambda rows, columns: equal(ids, rows, columns) & equal(ids, rows, columns)


def _plain_clip(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """As open_clip's ClipLoss."""
    del bias
    logits = scale * image @ text.T
    labels = torch.arange(len(image), device=image.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def _plain_sigmoid(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """As open_clip's SigLipLoss."""
    logits = scale * image @ text.T + bias
    labels = 2 * torch.eye(len(image), device=image.device, dtype=image.dtype) - 1
    return -F.logsigmoid(labels * logits).sum() / len(image)


def _ours(kind: str, rows: int) -> Loss:
    def loss(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        size = len(image)
        positive = _own(size, image.device)
        if kind == "info-nce":
            if size > rows:
                return chunked_info_nce(image, text, scale, positive, rows)
            return info_nce(image, text, scale, positive(EVERY, EVERY))
        if size > rows:
            return chunked_sigmoid(image, text, scale, bias, positive, size, rows)
        return sigmoid_loss(image, text, scale, bias, positive(EVERY, EVERY), size)

    return loss


def _memeff() -> Loss:
    from memeff import MemoryEfficientCLIPLoss

    module = MemoryEfficientCLIPLoss(temperature=1 / SCALE, normalized_inputs=True, stable=False)

    def loss(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        del scale, bias
        found: Tensor = module(image, text)
        return found

    return loss


def _siglip_kernel() -> Loss:
    from siglip_kernel import fused_siglip_loss

    return lambda image, text, scale, bias: fused_siglip_loss(image, text, scale.log(), bias)


Side = tuple[Callable[[], Loss], bool]  # how it is made, whether it holds the whole matrix


def _sides(kind: str, plain: Loss, kernel: str, public: Callable[[], Loss]) -> dict[str, Side]:
    return {
        "torch": (lambda: plain, True),
        "torch.compile": (lambda: torch.compile(plain, dynamic=False), True),
        "ours, whole": (lambda: _ours(kind, 1 << 30), True),
        "ours, blocks of 2048": (lambda: _ours(kind, 2048), False),
        "ours, blocks of 8192": (lambda: _ours(kind, 8192), False),
        kernel: (public, False),
    }


SIDES = {
    "info-nce": _sides("info-nce", _plain_clip, "memeff", _memeff),
    "sigmoid": _sides("sigmoid", _plain_sigmoid, "siglip-kernel", _siglip_kernel),
}


def _inputs(count: int, width: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    generator = torch.Generator(device).manual_seed(0)
    image = torch.randn(count, width, device=device, generator=generator)
    text = F.normalize(image + 2 * torch.randn(count, width, device=device, generator=generator), dim=1)
    made = (F.normalize(image, dim=1), text, torch.tensor(SCALE, device=device), torch.tensor(BIAS, device=device))
    vectors = tuple(x.to(dtype) for x in made[:2])
    scalars = tuple(x.double() if dtype == torch.float64 else x for x in made[2:])
    return tuple(x.requires_grad_() for x in (*vectors, *scalars))


def _under_autocast(loss: Loss, inputs: tuple[Tensor, ...]) -> Tensor:
    """As in a training step in bfloat16; float64 inputs are left alone."""
    device = inputs[0].device.type
    with torch.autocast(device, torch.bfloat16, enabled=inputs[0].dtype != torch.float64):
        return loss(*inputs)


def _gradients(loss: Loss, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    for value in inputs:
        value.grad = None
    _under_autocast(loss, inputs).backward()
    return [value.grad.double() for value in inputs[:2] if value.grad is not None]


def _error(loss: Loss, kind: str, width: int, device: torch.device, count: int) -> float:
    """Relative error of the gradients of images and texts against the plain loss in float64, on the same inputs."""
    low = _inputs(count, width, device, torch.bfloat16)
    high = tuple(x.detach().double().requires_grad_() for x in low)
    true = _gradients(_plain_clip if kind == "info-nce" else _plain_sigmoid, high)
    found = _gradients(loss, low)
    return max(float((x - y).norm() / y.norm()) for x, y in zip(found, true, strict=True))


def measure(device_name: str, small: bool, recorded: Recorded) -> None:
    """Every loss, batch and side; a side that fails says why."""
    device = torch.device(device_name)
    width, batches, checked = (32, (64,), 64) if small else (WIDTH, BATCHES, CHECKED)
    for kind, sides in SIDES.items():
        found: dict[str, Any] = {}
        for name, (make, whole) in sides.items():
            if device.type != "cuda" and name in ("memeff", "siglip-kernel", "torch.compile"):
                continue
            done: dict[str, Any] = {}
            found[name] = done
            try:
                loss = make()
                done["gradient_error"] = _error(loss, kind, width, device, checked)
                for count in batches:
                    if whole and count > WHOLE_MOST:
                        continue
                    done[str(count)] = _timed(loss, count, width, device)
                    say(
                        f"{kind:9} {name:22} {count:7,}: {1e3 * done[str(count)]['seconds']:8.2f} ms, "
                        f"{done[str(count)]['peak_bytes'] / 1e9:6.2f} GB, gradients off by {done['gradient_error']:.1e}"
                    )
            except Exception as error:
                done["failed"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                say(f"{kind:9} {name:22} {done['failed']}")
            recorded.keep(kind, found)


def _timed(loss: Loss, count: int, width: int, device: torch.device) -> dict[str, float]:
    inputs = _inputs(count, width, device, torch.bfloat16)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)

    def step() -> None:
        for value in inputs:
            value.grad = None
        _under_autocast(loss, inputs).backward()

    seconds = seconds_of(step, device, 7)
    peak = torch.cuda.max_memory_allocated(device) - held if device.type == "cuda" else 0
    return {"seconds": seconds, "peak_bytes": float(peak)}
