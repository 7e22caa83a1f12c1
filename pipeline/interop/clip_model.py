"""An aligner as code written for open_clip, or for CLIP of transformers, expects a model."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.errors import DataError
from pipeline.inference import Aligner
from pipeline.torchvision_fix import ensure_torchvision

PAD = -1  # after the last byte of a text
_INSIDE = "the encoders are whole models behind one vector; features of theirs are in a feature store"
_FROZEN = "encoders are frozen and heads are fitted by the DAG (`dvc repro`)"
_TOKENIZER = "texts reach the text encoder as strings, which its own tokenizer reads"
REFUSED = {
    **dict.fromkeys(("forward_intermediates", "transformer", "text", "vision_model", "text_model"), _INSIDE),
    **dict.fromkeys(("visual_projection", "text_projection", "ln_final", "attn_mask"), _INSIDE),
    **dict.fromkeys(("lock_image_tower", "lock_text_tower", "set_grad_checkpointing", "no_weight_decay"), _FROZEN),
    **dict.fromkeys(("token_embedding", "positional_embedding", "vocab_size"), _TOKENIZER),
}


class Visual(nn.Module):
    """The image tower as open_clip's models have one: its input, and unit vectors of it.

    Attributes:
        image_size: height and width of what it takes, in pixels.
        image_mean, image_std: of the normalisation, by channel; None where the encoder's record has none.
        preprocess_cfg: these and the interpolation, under open_clip's names.
        output_dim: K.
    """

    def __init__(self, aligner: Aligner) -> None:
        super().__init__()
        self._aligner = aligner
        fingerprint = aligner.config.fingerprints["image"]
        done = fingerprint["described"].get("preprocessing") or {}
        side = int(fingerprint["compared"]["resolution"])
        self.image_size = (side, side)
        self.image_mean, self.image_std = done.get("mean"), done.get("std")
        kept = {"mean": self.image_mean, "std": self.image_std, "interpolation": _interpolation(done)}
        self.preprocess_cfg = {"size": self.image_size, "mode": "RGB"} | {k: v for k, v in kept.items() if v}
        self.output_dim = aligner.embed_dim

    def forward(self, image: Tensor) -> Tensor:
        """As `ClipModel.encode_image`."""
        with torch.autocast(image.device.type, enabled=False):
            return torch.from_numpy(self._aligner.encode_pixels(image)).to(image.device)

    def __getattr__(self, name: str) -> Any:
        if name in REFUSED or name in ("lock", "trunk", "conv1", "proj"):
            raise AttributeError(f"The image tower of an aligner has no {name}: {REFUSED.get(name, _INSIDE)}.")
        return super().__getattr__(name)


class ClipModel(nn.Module):
    """A fitted aligner with the attributes and methods of open_clip's models; it has nothing to train.

    Attributes:
        logit_scale: logarithm of what cosines are multiplied by, a scalar: learned with the head, computed for one in
            closed form, the dual encoder's own for head identity.
        logit_bias: what is added then, a scalar; None but for heads of a sigmoid loss.
        visual: the image tower.
        context_length: tokens after which a text is cut, those that the tokenizer adds included.
        output_dict: whether `forward` gives a dict.
    """

    def __init__(self, aligner: Aligner, output_dict: bool = False) -> None:
        super().__init__()
        self.aligner, self.output_dict = aligner, output_dict
        self.visual = Visual(aligner)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(aligner.logit_scale)), requires_grad=False)
        bias = aligner.logit_bias
        self.logit_bias = None if bias is None else nn.Parameter(torch.tensor(bias), requires_grad=False)
        nn.Module.to(self, aligner.device)

    @property
    def context_length(self) -> int:
        """See above; loads the text encoder where its length was not recorded."""
        fingerprint = self.aligner.config.fingerprints["text"]
        recorded = (fingerprint["described"].get("preprocessing") or {}).get("max_tokens")
        lengths = [length for length in (fingerprint["compared"].get("max_tokens"), recorded) if length]
        return min(map(int, lengths)) if lengths else self.aligner.max_seq_length

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.aligner.device

    @property
    def dtype(self) -> torch.dtype:
        """What the image encoder computes in."""
        return self.aligner.dtype

    def encode_image(self, image: Tensor, normalize: bool = True) -> Tensor:
        """Unit vectors (N, K) float32 of images (N, 3, H, W) that went through `transform`.

        They are those of the feature store: an autocast around the call is turned off. Heads make unit vectors and
        nothing before them, so `normalize=False` gives the same; what a caller makes of them by normalising, too.
        """
        del normalize
        vectors: Tensor = self.visual(image)
        return vectors

    def encode_text(self, text: Tensor, normalize: bool = True) -> Tensor:
        """Unit vectors (N, K) float32 of texts (N, T) that went through `tokenize`; as `encode_image`.

        Raises:
            DataError: tokens of another tokenizer.
        """
        del normalize
        with torch.autocast(text.device.type, enabled=False):
            return torch.from_numpy(self.aligner.encode_text(untokenize(text))).to(text.device)

    def get_logits(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled cosines of images with texts (N, M), bias added, and the transpose; errors as `encode_text`."""
        logits = self._logits(self.encode_image(image), self.encode_text(text))
        return logits, logits.T

    def forward(
        self,
        image: Tensor | None = None,
        text: Tensor | None = None,
        *,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **others: Any,
    ) -> Any:
        """What open_clip's models answer to (image, text), and those of transformers to pixel_values and input_ids.

        Args:
            image, text: as for `encode_image` and `encode_text`, either may be left out.
            pixel_values, input_ids: the same tensors by the names of transformers, both.
            attention_mask: nothing is made of it; -1 marks what is no text.

        Returns:
            vectors of images, vectors of texts, scale (and bias where there is one), as a tuple or, with
            `output_dict`, by name; a CLIPOutput for the names of transformers.

        Raises:
            DataError: other arguments, names of both libraries, or one of the two of transformers.
        """
        del attention_mask
        if others:
            raise DataError(f"ClipModel takes images and texts alone, found {', '.join(sorted(others))}.")
        if pixel_values is None and input_ids is None:
            return self._features(image, text)
        if pixel_values is None or input_ids is None or image is not None or text is not None:
            raise DataError(
                "Pass image and text (open_clip), or pixel_values and input_ids, both (transformers); for one of them "
                "alone get_image_features or get_text_features."
            )
        ensure_torchvision()
        from transformers.models.clip.modeling_clip import CLIPOutput

        images, texts = self.encode_image(pixel_values), self.encode_text(input_ids)
        logits = self._logits(images, texts)
        return CLIPOutput(logits_per_image=logits, logits_per_text=logits.T, text_embeds=texts, image_embeds=images)

    def get_image_features(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> Any:
        """As transformers 5: an output whose `pooler_output` holds the unit vectors (N, K).

        Raises:
            DataError: `interpolate_pos_encoding`; the size of the input is that of the recorded view.
        """
        if interpolate_pos_encoding:
            raise DataError(f"The image encoder takes {self.visual.image_size} pixels, as the heads were fitted.")
        return _pooled(self.encode_image(pixel_values))

    def get_text_features(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Any:
        """As `get_image_features`, of tokens of `tokenize`; nothing is made of mask and positions."""
        del attention_mask, position_ids
        return _pooled(self.encode_text(input_ids))

    def transform(self, image: Image.Image) -> Tensor:
        """A picture of any size and mode as (3, H, W) float32."""
        return self.aligner.preprocess(image)

    def _features(self, image: Tensor | None, text: Tensor | None) -> Any:
        named = {
            "image_features": None if image is None else self.encode_image(image),
            "text_features": None if text is None else self.encode_text(text),
            "logit_scale": self.logit_scale.exp(),
        }
        named |= {} if self.logit_bias is None else {"logit_bias": self.logit_bias}
        return named if self.output_dict else tuple(named.values())

    def _logits(self, images: Tensor, texts: Tensor) -> Tensor:
        logits = self.logit_scale.float().exp() * images @ texts.T.to(images.device)
        return logits if self.logit_bias is None else logits + self.logit_bias.float()

    def _apply(self, fn: Any, recurse: bool = True) -> "ClipModel":
        """Whatever moves the scale (`to`, `cuda`, `half`, ...) moves the aligner."""
        before = self.logit_scale.dtype
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.logit_scale.device.type != "meta":
            self.aligner.to(self.logit_scale.device)
        if self.logit_scale.dtype != before:
            self.aligner.to(self.logit_scale.dtype)
        return self

    def __getattr__(self, name: str) -> Any:
        if name in REFUSED:
            raise AttributeError(f"ClipModel has no {name}: {REFUSED[name]}.")
        return super().__getattr__(name)


def tokenize(texts: str | Sequence[str], context_length: int | None = None) -> Tensor:
    """Texts as UTF-8 bytes, (N, T) int64, -1 after the end.

    Callers that only carry tokens from the tokenizer to `encode_text` work unchanged, and the text encoder's own
    tokenizer sees the very strings: it alone knows its prefix, its length and its batches.

    Args:
        context_length: nothing is cut here; the text encoder cuts at its own length.
    """
    del context_length
    rows = [list(text.encode("utf-8")) for text in ([texts] if isinstance(texts, str) else texts)]
    width = max((len(row) for row in rows), default=0)
    return torch.tensor([row + [PAD] * (width - len(row)) for row in rows], dtype=torch.int64).reshape(len(rows), width)


def untokenize(tokens: Tensor) -> list[str]:
    """The texts that `tokenize` was given.

    Raises:
        DataError: tokens of another tokenizer.
    """
    try:
        return [bytes(byte for byte in row if byte != PAD).decode("utf-8") for row in tokens.tolist()]
    except (ValueError, TypeError) as error:
        raise DataError(
            "Expected texts (N, T) as this model's own tokenizer gives them (`tokenize` of clip_model.py), found "
            f"a tensor {tuple(tokens.shape)} with other tokens: {_TOKENIZER}."
        ) from error


def load_clip_model(
    name: str, repeat: int = 0, device: str = "auto", trust: str | Sequence[str] = ()
) -> tuple[ClipModel, Callable[[Image.Image], Tensor], Callable[..., Tensor]]:
    """Model, transform and tokenizer of an aligner, in the order in which open_clip and CLIP_benchmark give them.

    Args:
        name, repeat, device, trust: as for `Aligner.from_pretrained`, with the same errors.
    """
    model = ClipModel(Aligner.from_pretrained(name, repeat=repeat, device=device, trust=trust)).eval()
    return model, model.transform, tokenize


def _pooled(vectors: Tensor) -> Any:
    ensure_torchvision()
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    return BaseModelOutputWithPooling(pooler_output=vectors)


def _interpolation(preprocessing: dict[str, Any]) -> str | None:
    """By name, as open_clip has it; transformers records PIL's number."""
    found = preprocessing.get("interpolation")
    return Image.Resampling(found).name.lower() if isinstance(found, int) else found
