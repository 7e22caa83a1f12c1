"""Loads the frozen text encoders of all libraries behind the interface `TextEncoder`."""

from pathlib import Path

from pipeline.config import EncoderSpec, TextView
from pipeline.encoders.config_files import with_sound_config
from pipeline.encoders.dual import check_described, is_dual
from pipeline.encoders.imported import refuse_imported
from pipeline.encoders.manifest import manifest_for
from pipeline.encoders.named_parts import check_names
from pipeline.encoders.text_encoder import TextEncoder
from pipeline.errors import CheckpointError


@with_sound_config
def load_text_encoder(folder: Path, spec: EncoderSpec, view: TextView, device: str) -> TextEncoder:
    """Load a text encoder from its checkpoint folder, in evaluation mode, without touching the network.

    A sentence-transformers folder pools and normalises with its own modules, and prepends to each text the prompt that
    `prompt` names, or its default prompt if it has one and no `prefix` is set. With loader transformers, `pooling`
    is `mean`, `cls` or `last` over all tokens but padding, or `model` for the model's own pooled output; for a dual
    encoder that is its projected `text_features`.

    Args:
        folder: written by `checkpoint.materialise`.
        spec: pooling, prefix and the dtype to compute in.
        view: its max_tokens, or None for the model's own.
        device: for PyTorch, for example "cpu" or "cuda:0".

    Raises:
        CheckpointError: the folder is unfinished, does not hold what its manifest lists, or lacks what was asked for;
            the message lists what it has.
    """
    refuse_imported(spec, folder.name)
    manifest = manifest_for(folder, spec.loader, "text")
    check_names(folder, spec.loader, spec.trust_remote_code)
    if set(spec.layers) != {-1}:
        raise CheckpointError(f"{folder.name}: texts are encoded from the last layer, found layers {list(spec.layers)}")
    if spec.loader == "open_clip":
        from pipeline.encoders.open_clip_dual import OpenClipText

        return OpenClipText(folder, spec, view, device)
    if is_dual(folder, spec):
        check_described(manifest, folder.name)
        from pipeline.encoders.transformers_dual import DualText

        dual = DualText(folder, spec, view, device)
        if dual.lower_case != bool(manifest.preprocessing.get("lower_case")):
            raise CheckpointError(
                f"{folder.name} was described by a version that did not lower-case its texts, as the model expects; "
                f"run: dvc repro -f checkpoint@{folder.name}"
            )
        return dual
    if spec.loader == "sentence-transformers":
        from pipeline.encoders.sentence_text import SentenceText

        return SentenceText(folder, spec, view, device)
    from pipeline.encoders.transformers_text import TransformersText

    return TransformersText(folder, spec, view.max_tokens, device)
