"""The checks of `permafrost doctor`: each gives what it found, and none raises."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipeline.errors import PermafrostError

if TYPE_CHECKING:
    from pipeline.config import EncoderSpec
    from pipeline.config.params import Params

State = tuple[Literal["ok", "warning", "error"], str]
_LIBRARIES = ("torch", "torchvision", "transformers", "timm", "sentence-transformers", "dvc", "zarr")
_LITTLE = 5  # gigabytes
_PICTURES = 2  # of a batch


@dataclass(frozen=True)
class Check:
    """What one check found.

    Attributes:
        state: `error` where a run would fail, `warning` where it may, or where something was not checked.
        text: what was found, and how to mend it.
    """

    name: str
    state: Literal["ok", "warning", "error"]
    text: str


def all_checks(*, encoders: bool, seconds: float) -> Iterator[Check]:
    """Every check, the fast ones first.

    Args:
        encoders: whether a batch goes through every encoder of params.yaml.
        seconds: after so many no further encoder is begun.
    """
    start = time.monotonic()
    yield from (_guarded(name, check) for name, check in _FAST.items())
    found: list[Params] = []
    yield _guarded("params.yaml", lambda: _params(found))
    for params in found:
        yield from (_guarded(f"data set {name}", partial(_dataset, params, name)) for name in params.datasets)
        for name in params.encoders if encoders else ():
            if time.monotonic() - start > seconds:
                yield Check(f"encoder {name}", "warning", f"not tried: {seconds:.0f} seconds are over (--seconds)")
            else:
                yield _guarded(f"encoder {name}", partial(_encoder, params, name))


def _guarded(name: str, check: Callable[[], State]) -> Check:
    """The outcome of a check; whatever it raises is an error in words."""
    try:
        state, text = check()
        return Check(name, state, text)
    except PermafrostError as error:
        return Check(name, "error", str(error))
    except Exception as error:
        return Check(name, "error", f"{type(error).__name__}: {error}")


def _environment() -> State:
    from pipeline.torchvision_fix import ensure_torchvision

    lacking, shown = [], [f"Python {sys.version.split()[0]}"]
    for name in _LIBRARIES:
        try:
            shown.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lacking.append(name)
    if lacking:
        return "error", f"{', '.join(lacking)} not installed. Set up again with: make repro"
    ensure_torchvision()
    return "ok", ", ".join(shown)


def _commands() -> State:
    lacking = [name for name in ("git", "dvc") if shutil.which(name) is None]
    if lacking:
        return "error", f"{', '.join(lacking)} not on the PATH. Activate the environment: source .venv/bin/activate"
    if not Path(".dvc").is_dir():
        return "warning", f"{Path.cwd()} is no DVC repository; run this at the root of a clone to check its project"
    return "ok", "git and dvc are there, and this is a DVC repository"


def _device() -> State:
    import torch

    from pipeline.device import choose_device

    chosen = choose_device("auto")
    if chosen == "cuda":
        free, total = torch.cuda.mem_get_info()
        names = {torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())}
        count = torch.cuda.device_count()
        return "ok", f"{count} x {', '.join(names)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free on the first"
    if shutil.which("nvidia-smi"):
        return (
            "warning",
            "nvidia-smi is there, but this PyTorch sees no GPU: it is a CPU build, or the driver is too old",
        )
    return (
        "ok",
        f"{chosen}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores",
    )


def _disk() -> State:
    from pipeline.work_folder import work_folder

    there = next(folder for folder in (work_folder(), *work_folder().parents) if folder.exists())
    if not os.access(there, os.W_OK):
        return "error", f"{there} cannot be written to; name another folder in $PERMAFROST_WORK"
    free = shutil.disk_usage(there).free / 1e9
    state: Literal["ok", "warning"] = "ok" if free > _LITTLE else "warning"
    return state, f"{free:.1f} GB free for features at {there}"


_FAST: dict[str, Callable[[], State]] = {
    "environment": _environment, "commands": _commands, "device": _device, "disk": _disk,
}  # fmt: skip


def _params(found: "list[Params]") -> State:
    """params.yaml, which is put into `found`."""
    from pipeline.config import load_config

    if not Path("params.yaml").is_file():
        return "warning", f"none in {Path.cwd()}; `permafrost init DATA` writes one in a clone"
    params = load_config().params
    found.append(params)
    counts = {"data sets": len(params.datasets), "encoders": len(params.encoders), "aligners": len(params.all_aligners)}
    return "ok", "valid: " + ", ".join(f"{count} {what}" for what, count in counts.items())


def _dataset(params: "Params", name: str) -> State:
    """Whether the raw files of a data set are there."""
    from pipeline.datasets.raw_files import located, matching

    spec = params.datasets[name]
    path = getattr(spec, "path", None)
    if path is None or spec.source == "hub":
        return "ok", f"source {spec.source}: fetched where it is needed"
    if isinstance(path, str) and located(path).exists():
        return "ok", f"there at {located(path)}"
    return "ok", f"{len(matching(path))} files at {path}"


def _encoder(params: "Params", name: str) -> State:
    """Load an encoder through the first view that names it, and run a batch through it."""
    from pipeline.encoders.checkpoint import materialise
    from pipeline.paths import checkpoint_folder

    spec, folder = params.encoders[name], checkpoint_folder(name)
    view = next((one for one in params.stored_views.values() if one.encoder == name), None)
    if view is None:
        return "warning", "no view names it, so it is not used"
    if spec.source == "imported":
        there = Path(spec.model).expanduser().exists()
        return ("ok", f"vectors at {spec.model}; nothing runs") if there else ("error", f"nothing is at {spec.model}")
    if folder.is_dir():
        return _batch(params, name, folder)
    if spec.source == "hub":
        return "warning", f"not fetched yet, so not tried; fetch it with: dvc repro checkpoint@{name}"
    with tempfile.TemporaryDirectory() as temporary:
        materialise(spec, Path(temporary) / name)
        return _batch(params, name, Path(temporary) / name)


def _batch(params: "Params", name: str, folder: Path) -> State:
    import torch

    from pipeline.config import FurtherView, ImageView
    from pipeline.device import choose_device
    from pipeline.encoders.image import load_image_encoder
    from pipeline.encoders.text import load_text_encoder

    spec: EncoderSpec = params.encoders[name]
    view = next(one for one in params.stored_views.values() if one.encoder == name)
    device = choose_device(params.encode.device)
    start = time.monotonic()
    if isinstance(view, ImageView):
        from PIL import Image

        encoder = load_image_encoder(folder, spec, view, device)
        picture = encoder.preprocess(Image.effect_noise((256, 256), 64).convert("RGB"))
        loaded = time.monotonic()
        with torch.inference_mode():
            values = encoder.forward(torch.stack([picture] * _PICTURES).to(device)).cls
    elif isinstance(view, FurtherView):
        from pipeline.encoding.further import rows_of

        encode = rows_of(view.modality).noise(folder, spec, view, device, _PICTURES)
        loaded = time.monotonic()
        values = encode()
    else:
        texts = load_text_encoder(folder, spec, view, device)
        loaded = time.monotonic()
        with torch.inference_mode():
            values = texts.encode(["a red kite"] * _PICTURES)
    done = time.monotonic()
    if not bool(torch.isfinite(values).all()):
        return "error", "gives values that are not finite; try another precision of the view, or another device"
    width = values.shape[-1]
    return (
        "ok",
        f"{width} wide on {device}, loaded in {loaded - start:.1f} s, a batch of {_PICTURES} in {done - loaded:.2f} s",
    )
