"""Loads the weights of a local folder into a class of transformers, with a clear message for every failure."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.config import EncoderSpec
from pipeline.encoders.memory import explain_out_of_memory, is_out_of_memory
from pipeline.encoders.quiet import quiet_loading
from pipeline.errors import CheckpointError

SMALLER = "choose a smaller model, `dtype: bfloat16`, or a device with more memory"


def load_weights(
    model_class: Any,
    folder: Path,
    spec: EncoderSpec,
    device: str,
    unused: Callable[[str], bool],
    wanted: str = "",
    **options: Any,
) -> Any:
    """A model in evaluation mode on `device`, all of whose weights come from safetensors in `folder`.

    Args:
        model_class: of transformers, with `from_pretrained`.
        unused: whether a weight of that name affects nothing that is kept, and may be missing.
        wanted: what the weights are needed for, for the message.
        options: for `from_pretrained`.

    Raises:
        CheckpointError: weights are missing, of other shapes or damaged, or do not fit into memory.
    """
    from safetensors import SafetensorError

    with explain_out_of_memory(f"{folder.name} ({model_class.__name__})", SMALLER):
        try:
            with quiet_loading():
                model, report = model_class.from_pretrained(
                    folder,
                    dtype=getattr(torch, spec.dtype),
                    local_files_only=True,
                    trust_remote_code=spec.trust_remote_code,
                    use_safetensors=True,
                    output_loading_info=True,
                    **options,
                )
        except (OSError, RuntimeError, ValueError, KeyError, ImportError, SafetensorError) as error:
            if is_out_of_memory(error):
                raise
            raise CheckpointError(
                f"{folder}: its weights do not load into {model_class.__name__}, the architecture that its config.json "
                f"names: {' '.join(str(error).split())[:400]}. Check that config.json and the weights belong "
                "together, and fetch the checkpoint again."
            ) from error
        name = type(model).__name__
        if missing := sorted(key for key in report["missing_keys"] if not unused(key)):
            raise CheckpointError(f"{folder} lacks weights that {name} needs{wanted}: {', '.join(missing[:4])}")
        return model.eval().to(device)
