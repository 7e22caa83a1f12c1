"""Small dual encoders with random weights, of the classes of CLIP-like models, in their libraries' own folders."""

import json
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers as hf
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from pipeline.encoders.open_clip_parts import import_open_clip
from pipeline.torchvision_fix import ensure_torchvision

ensure_torchvision()

WORDS = (
    "a",
    "red",
    "kite",
    "of",
    "the",
    "green",
    "bowl",
    "soup",
    "with",
    "two",
    "cats",
    "and",
    "ein",
    "roter",
    "drachen",
)
TEXTS = (
    "a red kite",
    "ein roter drachen",
    "the green bowl of soup with two cats and a kite " * 3,
    "cats",
    "soup and a kite",
)
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
LENGTH = 16
VISION = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
VISION |= {"intermediate_size": 48}
LANGUAGE = {"hidden_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
LANGUAGE |= {"vocab_size": len(SPECIAL) + len(WORDS), "max_position_embeddings": LENGTH}
LANGUAGE |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
BODY = {"image_size": 32, "layers": 2, "width": 24, "head_width": 12, "patch_size": 8}
SHARED = 12
PIECES = 32


def write_pieces(folder: Path) -> None:
    """SigLIP's own tokenizer over a sentencepiece model of `PIECES` pieces."""
    sentences = [" ".join(WORDS[start:] + WORDS[:start]) for start in range(len(WORDS))]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "spiece.model", "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences), model_writer=file, vocab_size=PIECES, pad_id=-1, bos_id=-1, eos_id=1,
            unk_id=0, minloglevel=2,
        )  # fmt: skip
    hf.SiglipTokenizer(
        str(folder / "spiece.model"), model_max_length=LENGTH, model_input_names=["input_ids"]
    ).save_pretrained(folder)  # no mask, as in the published folders


def write_tokenizer(folder: Path) -> None:
    """Whole words between <s> and </s>."""
    core = Tokenizer(models.WordLevel({word: row for row, word in enumerate((*SPECIAL, *WORDS))}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair=None, special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>"}
    hf.PreTrainedTokenizerFast(
        tokenizer_object=core, sep_token="</s>", model_max_length=LENGTH, **names
    ).save_pretrained(folder)


def _spread(model: torch.nn.Module) -> torch.nn.Module:
    """Larger weights, so that features of different inputs differ as much as those of a trained model."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(std=1.0 if "embed" in name or "patch" in name else 2.0 * weight.shape[-1] ** -0.5)
    return model.eval()


def transformers_folder(folder: Path, kind: str) -> Path:
    """A folder of transformers: `clip`, `siglip`, `metaclip` or `lit` (two towers of one's choice, joined)."""
    model: Any
    torch.manual_seed(0)
    if kind == "clip":
        config = hf.CLIPConfig(text_config=LANGUAGE, vision_config=VISION, projection_dim=SHARED)
        model = hf.CLIPModel(config)
    elif kind == "metaclip":
        config = hf.MetaClip2Config(text_config=LANGUAGE, vision_config=VISION, projection_dim=SHARED)
        model = hf.MetaClip2Model(config)
    elif kind == "siglip":
        write_pieces(folder)
        config = hf.SiglipConfig(text_config=LANGUAGE | {"hidden_size": 24, "vocab_size": PIECES}, vision_config=VISION)
        model = hf.SiglipModel(config)
    else:
        config = hf.VisionTextDualEncoderConfig.from_vision_text_configs(
            hf.ViTConfig(**VISION), hf.BertConfig(**LANGUAGE), projection_dim=SHARED
        )
        model = hf.VisionTextDualEncoderModel(config)
    _spread(model).save_pretrained(folder)
    if kind == "siglip":
        hf.SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    else:
        write_tokenizer(folder)
        size = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
        hf.CLIPImageProcessor(**size).save_pretrained(folder)
    return folder


def open_clip_folder(folder: Path, kind: str) -> Path:
    """A folder of open_clip: `plain`, `xlm-roberta`, `nllb` or `siglip` (an image tower of timm)."""
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "embed_dim": SHARED,
        "vision_cfg": BODY,
        "text_cfg": {"width": 16, "heads": 2, "layers": 2},
    }
    preprocess: dict[str, Any] = {"mean": [0.4, 0.5, 0.6], "std": [0.3, 0.25, 0.2], "interpolation": "bilinear"}
    if kind == "plain":
        preprocess["resize_mode"] = "shortest"
    else:
        write_tokenizer(folder)
        tower: Any = hf.XLMRobertaConfig(**LANGUAGE | {"max_position_embeddings": 80})
        if kind == "nllb":
            tower = hf.M2M100Config(
                vocab_size=LANGUAGE["vocab_size"], d_model=20, encoder_layers=2, decoder_layers=1,
                encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=40, decoder_ffn_dim=40,
                pad_token_id=0,
            )  # fmt: skip
        tower.save_pretrained(folder / "text_model")
        pooling = "cls_pooler" if kind == "nllb" else "mean_pooler"
        projection = "linear" if kind == "nllb" else "mlp"
        config["text_cfg"] = {"hf_model_name": "no/such-model", "hf_tokenizer_name": "no/such-model"}
        config["text_cfg"] |= {"hf_pooler_type": pooling, "hf_proj_type": projection}
    if kind == "siglip":
        config |= {"embed_dim": 64, "custom_text": True, "init_logit_bias": -10}
        config["vision_cfg"] = {
            "image_size": 160,
            "timm_model_name": "test_vit",
            "timm_pool": "map",
            "timm_proj": "none",
        }
        config["text_cfg"] = {"context_length": LENGTH, "vocab_size": LANGUAGE["vocab_size"], "width": 16, "heads": 2}
        config["text_cfg"] |= {"layers": 2, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
        config["text_cfg"] |= {"hf_tokenizer_name": "no/such-model", "tokenizer_kwargs": {"clean": "canonicalize"}}
        preprocess["resize_mode"] = "squash"
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_file(_spread(library_model(folder)).state_dict(), folder / "open_clip_model.safetensors")
    return folder


def library_model(folder: Path) -> Any:
    """The model as open_clip builds it from the folder, its text tower from the configuration that lies there."""
    library = import_open_clip()
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    if config["text_cfg"].get("hf_model_name"):
        config["text_cfg"] |= {"hf_model_name": str(folder / "text_model"), "hf_model_pretrained": False}
    return library.create_model(f"local-dir:{folder}", text_cfg=config["text_cfg"])
