"""The device's own ceilings: matrix products and memory."""

import torch

from benchmarks.on_gpu.common import Recorded, clock, matmul_rate, say


def measure(device_name: str, small: bool, recorded: Recorded) -> None:
    """The best matrix product of three sizes, and a large copy, bytes read and written both counted."""
    device = torch.device(device_name)
    recorded.keep("device", torch.cuda.get_device_name(device) if device.type == "cuda" else device.type)
    by_size = {str(size): matmul_rate(device, size) for size in ((128, 256) if small else (4096, 8192, 16384))}
    recorded.keep("matmul_flops_by_size", by_size)
    recorded.keep("matmul_flops", max(by_size.values()))
    source = torch.randn((1 << 20) if small else (1 << 31), device=device).half()
    target = torch.empty_like(source)
    target.copy_(source)
    started = clock(device)
    for _ in range(10):
        target.copy_(source)
    recorded.keep("copy_bytes_per_second", 10 * 2 * source.nbytes / (clock(device) - started))
    say(
        f"{recorded['device']}: bfloat16 matrix products {recorded['matmul_flops'] / 1e12:.0f} TFLOP/s, "
        f"copies {recorded['copy_bytes_per_second'] / 1e12:.2f} TB/s"
    )
