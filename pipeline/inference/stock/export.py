"""An aligner as a folder that `SentenceTransformer` loads, with nothing of this project and no code in it."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.ensemble import Ensemble
from pipeline.alignment.saved import ProjectionHeads
from pipeline.alignment.vectors import embed_images
from pipeline.errors import ModelError
from pipeline.inference.encoders import FrozenEncoders
from pipeline.inference.stock.heads import IMAGE, TEXT, Kernel, refuse, side_of
from pipeline.inference.stock.joined import joined
from pipeline.inference.stock.modules import image_modules, modules_of, stock, text_modules
from pipeline.inference.stock.steps import Linear, Step, folded

TOLERANCE = 1e-5  # of every number of a vector
_TEXTS = (
    "a", "a red kite", "two dogs in the snow", "soup", "a map of the north of Europe, drawn by hand in 1820",
    "Ein alter Mann liest am Fenster.", "", "3 + 4 = 7",
    "the sea at night, seen from a ship; lights on the shore far away", "apple",
    "une petite maison au bord de la rivière", "an engraving of a beetle",
)  # fmt: skip


def export_modules(
    heads: ProjectionHeads,
    encoders: FrozenEncoders,
    out: Path,
    card: str,
    pictures: Sequence[Image.Image] | None = None,
    texts: Sequence[str] | None = None,
) -> dict[str, float]:
    """Write a Router of both encoders with their sides of the head, and check it against the aligner.

    Args:
        heads: on the CPU.
        encoders: in float32, of unrounded features.
        card: text of README.md.
        pictures, texts: what it is set to and checked on; a few built-in ones where None.

    Returns:
        the largest difference of a number of a vector, by modality.

    Raises:
        ModelError: a part has no stock form, or what was written gives other vectors; nothing is left at `out`.
    """
    _require_form(heads)
    pictures, texts = pictures or sample_pictures(), texts or sample_texts()
    images = [embed_images(heads, batch) for batch in encoders.image_features(pictures, 8)]
    expected = {
        IMAGE: np.concatenate(images),
        TEXT: heads.embed_text(encoders.text_features(texts, 8, heads.config.text_tokens)),
    }
    model = _model(heads, encoders, pictures, texts)
    given: dict[str, Any] = {IMAGE: [{IMAGE: picture} for picture in pictures], TEXT: [{TEXT: text} for text in texts]}
    differences = {}
    for side, values in given.items():
        found = model.encode(values, batch_size=8, show_progress_bar=False)
        differences[side] = float(np.abs(found - expected[side]).max())
        if not differences[side] <= TOLERANCE:
            raise ModelError(
                f"The {side} tower gives other vectors as modules of sentence-transformers (by {differences[side]:.1e} "
                "in a number): something is prepared or computed in another way there. Export it with export_onnx() "
                "instead."
            )
    model.save_pretrained(str(out), create_model_card=False)
    (out / "README.md").write_text(card, encoding="utf-8")
    return differences


def sample_texts() -> list[str]:
    """Twelve texts of other lengths and languages."""
    return list(_TEXTS)


def sample_pictures() -> list[Image.Image]:
    """Twelve pictures of other sizes, colours and textures, the same on every machine."""
    generator = np.random.default_rng(0)
    pictures = []
    for number in range(12):
        height, width = 96 + 24 * (number % 5), 300 - 20 * number
        coarse = generator.integers(0, 256, (2 + number % 4, 3 + number % 3, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC if number % 2 else 0)
        noise = generator.integers(0, 1 + 8 * number, (height, width, 3))
        pictures.append(Image.fromarray((np.asarray(picture) // 2 + noise % 128).astype(np.uint8)))
    return pictures


def _model(heads: ProjectionHeads, encoders: FrozenEncoders, pictures: Sequence[Any], texts: Sequence[str]) -> Any:
    library, config = stock(), heads.config
    from sentence_transformers import SentenceTransformer

    image, to_vector = image_modules(encoders, config.local_tokens, config.layers == 1)
    text, prefix = text_modules(encoders, config.text_tokens)
    with torch.inference_mode():
        samples = {
            IMAGE: _pooled(image, list(pictures)).double() @ to_vector.weight.T,
            TEXT: _pooled(text, [prefix + value for value in texts]).double(),
        }
    steps = {side: side_steps(heads.head, side, config.widths[side], sample) for side, sample in samples.items()}
    routes = {
        IMAGE: [*image, *modules_of(folded([to_vector, *steps[IMAGE]]))],
        TEXT: [*text, *modules_of(steps[TEXT])],
    }
    router = library.Router(routes, default_route=TEXT, route_mappings={(None, side): side for side in routes})
    prompts = dict.fromkeys(("query", "document", "text"), prefix) if prefix else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SentenceTransformer(
            modules=[router, library.Normalize()],
            device="cpu",
            prompts=prompts,
            default_prompt_name="text" if prefix else None,
            similarity_fn_name="cosine",
        ).eval()


def _require_form(heads: ProjectionHeads) -> None:
    """Refuse a head that has no stock form, before an encoder is loaded."""
    if heads.config.kind == "identity":
        refuse("A dual encoder without a head, which sentence-transformers loads by itself,")
    for side, width in heads.config.widths.items():
        sample = torch.ones(2, 2 * width if side == IMAGE else width, dtype=torch.float64)
        side_steps(heads.head, side, width, sample)


def side_steps(head: Head, side: str, width: int, sample: torch.Tensor) -> list[Step]:
    """One side of any head as steps, but for the last division by the length.

    Args:
        width: of an encoder's vector.
        sample: (B, D) what comes in.

    Raises:
        ModelError: it has no stock form.
    """
    if isinstance(head, Ensemble):
        members = [member for member in head.members if isinstance(member, Head)]
        return joined([side_of(member, side, width) for member in members], head.weights, sample)
    found = side_of(head, side, width)
    return _softmax(found) if isinstance(found, Kernel) else found


def _softmax(kernel: Kernel) -> list[Step]:
    """A kernel alone: its common factor and softmax's denominator go with the last division by the length."""
    logits = kernel.logits()
    return [Linear(logits.weight, logits.bias, "Softmax"), Linear(kernel.weight.T)]


def _pooled(modules: Sequence[nn.Module], inputs: list[Any]) -> torch.Tensor:
    """(B, D) float32: what the modules give, one batch of like inputs at a time."""
    first: Any = modules[0]
    first.eval()
    parts = []
    for start in range(0, len(inputs), 8):
        features = first.preprocess(inputs[start : start + 8])
        for module in modules:
            features = module(features)
        parts.append(features["sentence_embedding"])
    return torch.cat(parts)
