"""A small checkpoint with random weights for each entry of docs/encoders.md, and what its own library gives for inputs.

Each maker writes a folder in the library's own format. Each reference loads that folder with the library alone.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from pipeline.encoders.open_clip_parts import import_open_clip
from tests.encoders import dual_models

BODY = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
MLP = {"intermediate_size": 48}
LANGUAGE = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, **{**MLP}}
OWN_SIZE = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
Images = Sequence[Image.Image]
Expected = dict[str, np.ndarray]  # cls (N, D) and, of towers with patches, patch (N, P, D); pooled (N, D) of texts


@dataclass(frozen=True)
class Tiny:
    """How to make the checkpoint of an entry, and what its library gives: folder, inputs -> arrays."""

    make: Callable[[Path], Any]
    reference: Callable[[Path, Any], Expected]
    side: int = 32


def _images(build: Callable[[], Any], prefix: int, cls: str = "token", **options: Any) -> Tiny:
    def make(folder: Path) -> None:
        torch.manual_seed(0)
        dual_models._spread(build()).save_pretrained(folder)
        hf.BitImageProcessor(**OWN_SIZE).save_pretrained(folder)

    def reference(folder: Path, images: Images) -> Expected:
        processor = hf.AutoImageProcessor.from_pretrained(folder)
        model = type(build()).from_pretrained(folder).eval()
        output = model(**processor(images=list(images), return_tensors="pt"), **options)
        hidden = output.last_hidden_state
        first = hidden[:, 0] if cls == "token" else output.pooler_output
        return {"cls": first.numpy(), "patch": hidden[:, prefix:].numpy()}

    return Tiny(make, reference)


def _clip_vision(folder: Path, images: Images) -> Expected:
    """CLIP's pooled output is its CLS token after the final norm, which patches take here as well."""
    processor, model = hf.AutoImageProcessor.from_pretrained(folder), hf.CLIPModel.from_pretrained(folder).eval()
    output = model.vision_model(**processor(images=list(images), return_tensors="pt"))
    patch = model.vision_model.post_layernorm(output.last_hidden_state[:, 1:])
    return {"cls": output.pooler_output.numpy(), "patch": patch.numpy()}


def _siglip_vision(folder: Path, images: Images) -> Expected:
    processor, model = hf.AutoImageProcessor.from_pretrained(folder), hf.SiglipModel.from_pretrained(folder).eval()
    output = model.vision_model(**processor(images=list(images), return_tensors="pt"))
    return {"cls": output.pooler_output.numpy(), "patch": output.last_hidden_state.numpy()}


def _dual_images(folder: Path, images: Images) -> Expected:
    processor, model = hf.AutoImageProcessor.from_pretrained(folder), hf.AutoModel.from_pretrained(folder).eval()
    return {
        "cls": model.get_image_features(**processor(images=list(images), return_tensors="pt")).pooler_output.numpy()
    }


def _dual_texts(padding: str) -> Callable[[Path, Any], Expected]:
    def reference(folder: Path, texts: Sequence[str]) -> Expected:
        tokenizer, model = hf.AutoTokenizer.from_pretrained(folder), hf.AutoModel.from_pretrained(folder).eval()
        batch = tokenizer(list(texts), padding=padding, truncation=True, return_tensors="pt")
        return {"pooled": model.get_text_features(**batch).pooler_output.numpy()}

    return reference


def _awake(model: torch.nn.Module) -> torch.nn.Module:
    """Weights that keep the scale of what passes through, where a fresh model gives all inputs nearly one output."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "gamma" in name:  # LayerScale
                weight.fill_(1.0)
            elif weight.ndim > 1:
                weight.normal_(std=1.5 * (weight.numel() / weight.shape[0]) ** -0.5)
    return model.eval()


def _timm(architecture: str, side: int, cls: str = "token", **args: Any) -> Tiny:
    def make(folder: Path) -> None:
        torch.manual_seed(0)
        model = _awake(timm.create_model(architecture, pretrained=False, num_classes=5, **args))
        folder.mkdir(parents=True)
        weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        own = model.default_cfg | {"input_size": (3, side, side), "crop_pct": 0.9, "num_classes": 5}
        config = {"architecture": architecture, "num_classes": 5, "pretrained_cfg": own, "model_args": args}
        (folder / "config.json").write_text(json.dumps(config))

    def reference(folder: Path, images: Images) -> Expected:
        model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
        if hasattr(model, "set_input_size"):
            model.set_input_size(img_size=(side, side))
        transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
        pixels = torch.stack([transform(image) for image in images])
        features = model.forward_features(pixels)
        pooled = model.forward_head(features, pre_logits=True)
        if features.ndim == 4:
            last = features.shape[-1] == model.num_features
            patch = features.flatten(1, 2) if last else features.flatten(2).transpose(1, 2)
            return {"cls": pooled.numpy(), "patch": patch.numpy()}
        patch = features[:, model.num_prefix_tokens :]
        return {"cls": (features[:, 0] if cls == "token" else pooled).numpy(), "patch": patch.numpy()}

    return Tiny(make, reference, side)


def words(padding_side: str = "right", limit: int = 16, end: bool = False) -> hf.PreTrainedTokenizerFast:
    """A tokenizer of whole words, text between <s> and </s>, or without either as many decoders have it (`end`)."""
    listed = (*dual_models.SPECIAL, *dual_models.WORDS, ":", "query")
    core = Tokenizer(models.WordLevel({word: row for row, word in enumerate(listed)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    if not end:
        special = [("<s>", 2), ("</s>", 3)]
        core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair=None, special_tokens=special)
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"} | ({} if end else {"pad_token": "<pad>"})
    return hf.PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=limit, padding_side=padding_side, **names)


def _texts(build: Callable[[], Any], pooling: str, tokenizer: Callable[[], Any] = words) -> Tiny:
    """Of the library alone, one text at a time, so that no padding can play a part."""

    def make(folder: Path) -> None:
        torch.manual_seed(0)
        dual_models._spread(build()).save_pretrained(folder)
        tokenizer().save_pretrained(folder)

    def reference(folder: Path, texts: Sequence[str]) -> Expected:
        own, model = hf.AutoTokenizer.from_pretrained(folder), type(build()).from_pretrained(folder).eval()
        rows = []
        for text in texts:
            output = model(**own(text, truncation=True, return_tensors="pt"))
            hidden = output.last_hidden_state[0]
            pooled = {"cls": hidden[0], "last": hidden[-1], "mean": hidden.mean(dim=0)}
            rows.append(output.pooler_output[0] if pooling == "model" else pooled[pooling])
        return {"pooled": torch.stack(rows).numpy()}

    return Tiny(make, reference)


def _sentence(build: Callable[[], Any], prompt: dict[str, Any], pooling: str = "mean", **settings: Any) -> Tiny:
    def make(folder: Path) -> None:
        plain = folder.with_name(folder.name + "-plain")
        torch.manual_seed(0)
        dual_models._spread(build()).save_pretrained(plain)
        words().save_pretrained(plain)
        options = {"include_prompt": settings.get("include_prompt", True)}
        modules = [
            Transformer(str(plain), max_seq_length=14),
            Pooling(16, pooling_mode=pooling, **options),
            Normalize(),
        ]
        model = SentenceTransformer(modules=modules, device="cpu", prompts=settings.get("prompts"))
        model.save_pretrained(str(folder))

    def reference(folder: Path, texts: Sequence[str]) -> Expected:
        own = SentenceTransformer(str(folder), device="cpu")
        return {"pooled": own.encode(list(texts), **prompt)}

    return Tiny(make, reference)


def _open_clip_images(folder: Path, images: Images) -> Expected:
    model, transforms = dual_models.library_model(folder).eval(), import_open_clip().transform
    transform = transforms.image_transform_v2(transforms.PreprocessCfg(**model.visual.preprocess_cfg), False)
    return {"cls": model.encode_image(torch.stack([transform(image) for image in images])).numpy()}


def _open_clip_texts(folder: Path, texts: Sequence[str]) -> Expected:
    model = dual_models.library_model(folder).eval()
    return {"pooled": model.encode_text(import_open_clip().get_tokenizer(f"local-dir:{folder}")(list(texts))).numpy()}


def _bert() -> Any:
    return hf.BertModel(hf.BertConfig(**LANGUAGE, max_position_embeddings=16))


def _roberta(kind: str = "Roberta") -> Any:
    config = getattr(hf, f"{kind}Config")(**LANGUAGE, max_position_embeddings=20, pad_token_id=0)
    return getattr(hf, f"{kind}Model")(config)


def _decoder(kind: str) -> Any:
    config = getattr(hf, f"{kind}Config")(**LANGUAGE, num_key_value_heads=1, head_dim=8, max_position_embeddings=32)
    return getattr(hf, f"{kind}Model")(config)


def _clip_text() -> Any:
    return hf.CLIPTextModel(hf.CLIPTextConfig(**dual_models.LANGUAGE))


def _left() -> Any:
    return words("left", end=True)


TWIST = {
    "convnext": {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 24)},
    "vit": {"depth": 2, "embed_dim": 24, "num_heads": 2},
}
TWIST["swin"] = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
PROMPTS = {"query": "query : ", "document": ""}
CLIP = dual_models.transformers_folder
TINY: dict[str, Tiny] = {  # by the names that docs/encoders.md gives its entries
    "dinov2": _images(lambda: hf.Dinov2Model(hf.Dinov2Config(**BODY)), 1),
    "dinov2-reg": _images(
        lambda: hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**BODY, num_register_tokens=4)), 5
    ),
    "dinov3": _images(lambda: hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**BODY, **MLP, num_register_tokens=4)), 5),
    "vit": _images(lambda: hf.ViTModel(hf.ViTConfig(**BODY, **MLP)), 1, cls="pooler"),
    "deit": _images(lambda: hf.DeiTModel(hf.DeiTConfig(**BODY, **MLP), add_pooling_layer=False), 2),
    "clip-vision": Tiny(lambda folder: CLIP(folder, "clip"), _clip_vision),
    "clip-image": Tiny(lambda folder: CLIP(folder, "clip"), _dual_images),
    "siglip-image": Tiny(lambda folder: CLIP(folder, "siglip"), _siglip_vision),
    "timm-dinov2": _timm("vit_small_patch14_dinov2", 56, **TWIST["vit"]),
    "timm-dinov3": _timm("vit_small_patch16_dinov3", 64, depth=2, embed_dim=48, num_heads=2),
    "timm-deit": _timm("deit_tiny_distilled_patch16_224", 64, "pooled", img_size=64, **TWIST["vit"]),
    "timm-siglip": _timm("vit_base_patch16_siglip_224", 64, "pooled", img_size=64, **TWIST["vit"]),
    "convnext": _timm("convnext_tiny", 64, **TWIST["convnext"]),
    "efficientnet": _timm("test_efficientnet", 96),
    "swin": _timm("swin_tiny_patch4_window7_224", 112, img_size=112, **TWIST["swin"]),
    "open-clip-image": Tiny(lambda folder: dual_models.open_clip_folder(folder, "plain"), _open_clip_images),
    "bert": _texts(_bert, "cls"),
    "roberta": _texts(_roberta, "mean"),
    "xlm-r": _texts(lambda: _roberta("XLMRoberta"), "mean"),
    "mpnet": _texts(lambda: _roberta("MPNet"), "mean"),
    "llm": _texts(lambda: _decoder("Qwen3"), "last", _left),
    "llm-mean": _texts(lambda: _decoder("Llama"), "mean", lambda: words("right", end=True)),
    "clip-text": Tiny(lambda folder: CLIP(folder, "clip"), _dual_texts("longest")),
    "clip-tower": _texts(_clip_text, "model"),
    "siglip-text": Tiny(lambda folder: CLIP(folder, "siglip"), _dual_texts("max_length")),
    "arl": _sentence(_roberta, {}),
    "e5": _sentence(lambda: _roberta("XLMRoberta"), {"prompt": "query: "}),
    "qwen-embedding": _sentence(
        lambda: _decoder("Qwen3"), {"prompt_name": "query"}, "lasttoken", prompts=PROMPTS, include_prompt=True
    ),
    "open-clip-text": Tiny(lambda folder: dual_models.open_clip_folder(folder, "plain"), _open_clip_texts),
}
