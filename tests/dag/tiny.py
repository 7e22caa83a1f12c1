"""A project of toy size: small random backbones in their libraries' own formats, and simple pictures."""

import csv
import json
from pathlib import Path
from typing import Any

import yaml
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
HYDRA = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["hydra"]
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 70, 220),
    "yellow": (230, 210, 40),
    "black": (20, 20, 20),
    "purple": (150, 40, 180),
}
THINGS = (
    *("anchor", "bridge", "candle", "daisy", "engine", "feather", "guitar", "hammer"),
    *("island", "jacket", "kettle", "ladder", "mirror", "needle", "oyster"),
)
PICTURES = len(COLOURS) * len(THINGS)


def write_image_checkpoint(folder: Path, seed: int) -> None:
    """A transformers Dinov2 of 2 layers and width 16, with its processor."""
    from pipeline.torchvision_fix import ensure_torchvision

    ensure_torchvision()
    import torch
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(seed)
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, patch_size=14, image_size=28
    )
    Dinov2Model(config).save_pretrained(folder)
    processor = {
        "image_processor_type": "BitImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": 32},
        "do_center_crop": True,
        "crop_size": {"height": 28, "width": 28},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "do_convert_rgb": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def write_text_checkpoint(folder: Path, seed: int) -> None:
    """A transformers BERT of 2 layers and width 16, with a tokenizer of whole words."""
    from pipeline.torchvision_fix import ensure_torchvision

    ensure_torchvision()
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "picture", "of", ".", "drawing", "sketch", *COLOURS, *THINGS]
    core = Tokenizer(models.WordLevel({word: row for row, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=None, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=32,
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)


def write_pictures(folder: Path) -> None:
    """`PICTURES` pictures, of every thing in every colour, and captions.csv; the family is the thing."""
    folder.mkdir(parents=True)
    rows = []
    for row, thing in enumerate(THINGS):
        for column, (colour, rgb) in enumerate(COLOURS.items()):
            picture = Image.new("RGB", (40, 40), "white")
            draw = ImageDraw.Draw(picture)
            draw.rectangle((2 + column, 2 + row, 14 + 2 * row, 30 - column), fill=rgb)
            draw.ellipse((20, 10 + row, 24 + column, 16 + row), fill=(9 * row, 255 - 15 * row, 20 * column))
            name = f"{thing}-{colour}.png"
            picture.save(folder / name)
            concept = f"{colour} {thing}"
            rows.append((name, f"a {concept}", "en", concept, concept, "tool" if row % 2 else "other"))
    with open(folder / "captions.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "caption", "language", "concept", "classname", "category"])
        writer.writerows(rows)


def tiny_params(outside: Path, rows: int) -> dict[str, Any]:
    """A params.yaml that uses what the functions above wrote under `outside`."""

    def encoder(modality: str, name: str) -> dict[str, Any]:
        own = {"pooling": "cls"} if modality == "image" else {"pooling": "mean"}
        return {
            "modality": modality,
            "source": "local",
            "model": str(outside / name),
            "loader": "transformers",
            **own,
        }

    def store(dataset: str, view: str) -> dict[str, str]:
        return {"dataset": dataset, "view": view, "encoder": view.split("-")[0]}

    image_view = {"resolution": 28, "tier": "grid", "grid": 2}

    def computed() -> dict[str, Any]:  # one each, or YAML would write the second as an alias of the first
        return {"kind": "closed-form", "forms": {"cca": {"shrink": 1.0}, "kernel-ridge": {"ridge": 0.3}}}

    return {
        "seed": 0,
        "encoders": {
            "eye": encoder("image", "eye-a"),
            "blind": encoder("image", "eye-b"),
            "words": encoder("text", "words-a"),
        },
        "views": {
            "eye": {"encoder": "eye", **image_view},
            "blind": {"encoder": "blind", **image_view},
            "words": {"encoder": "words"},
            "eye-dense": {"encoder": "eye", "resolution": 56, "tier": "full"},
            "blind-dense": {"encoder": "blind", "resolution": 56, "tier": "full"},
            "words-long": {"encoder": "words", "max_tokens": 32, "truncations": [8, 16, 32]},
        },
        "datasets": {
            "mine": {"source": "folder", "path": str(outside / "pictures"), "limit": rows},
        },
        "stores": {
            "pairs": {
                "mine-eye": store("mine", "eye"),
                "mine-blind": store("mine", "blind"),
                "mine-words": store("mine", "words"),
            },
            "scenes": {
                "scenes-eye": store("composed", "eye-dense"),
                "scenes-blind": store("composed", "blind-dense"),
                "training-eye": store("training", "eye-dense"),
                "scenes-words": store("composed", "words-long"),
            },
            "prompts": {"classnames-words": store("classnames", "words")},
        },
        "scenes": {
            "composed": {"pieces": ["mine"], "count": 6, "size": 56, "objects": [2, 4]},
            "training": {"pieces": ["mine"], "count": 9, "size": 56, "objects": [2, 4], "use": "training"},
        },
        "curations": {
            "all": {"view": "eye", "pool": ["mine"]},
            "balanced": {
                "method": "prototypes",
                "view": "eye",
                "pool": ["mine"],
                "images": 24,
                "shots": 2,
                "concepts": [{"dataset": "mine", "label": "category"}],
            },
        },
        "aligners": {
            "default": {
                "views": ["eye", "words"],
                "data": "all",
                "head": computed(),
                "evaluation": {"dense": "eye-dense", "dense_head": "eye", "long_text": "words-long"},
            },
            "control": {
                "views": ["blind", "words"],
                "data": "all",
                "head": computed(),
                "evaluation": {"dense": "blind-dense", "long_text": "words-long"},
            },
            "curated": {"views": ["eye", "words"], "data": "balanced", "head": {"kind": "freeze-align"}},
        },
        "concept_curations": {},
        "fused": {},
        "added": {},
        "auto": {},
        "dense_heads": {"eye": {"image": "eye-dense", "text": "words", "scenes": "training"}},
        "splits": {"repeats": 1, "validation": 0.2, "test": 0.3, "largest_family": 0.2},
        "prompts": {"sets": {"single": ["a picture of a {}."]}},
        "encode": {"batch_size": 16, "text_batch_size": 32, "workers": 1, "shard_rows": 32},
        "compare": {
            "mine": {
                "datasets": ["mine"],
                "images": ["eye", "blind"],
                "texts": ["words"],
                "control": "blind",
                "neighbours": 5,
                "permutations": 20,
            }
        },
        "toy": {
            "mine": {
                "compare": "mine",
                "synthetic": {"samples": 64, "width": 4, "noise": [0.0, 1.0], "seeds": 1},
                "iterations": 10,
                "validate_every": 5,
                "batch_size": 32,
                "width": 8,
                "seeds": 1,
            }
        },
        "predictors": {"mine": {"compare": "mine", "samples": 64}},
        "train": {"epochs": 2, "min_steps": 0, "batch_size": 32, "lr": 0.001},
        "evaluate": {
            "tasks": {
                "retrieval": {"datasets": ["mine"], "recall_at": [1, 5]},
                "classification": {"classes": [{"dataset": "mine", "label": "concept"}]},
                "multilingual": {"datasets": ["mine"]},
                "segmentation": {
                    "scenes": "composed",
                    "classes": [{"dataset": "mine", "label": "category"}, {"dataset": "mine", "label": "concept"}],
                },
                "long_text": {"scenes": "composed", "recall_at": [1, 5]},
            },
            "control": "control",
            "showcase": "default",
            "versus": {"curated": "default"},
            "examples": 4,
            "bootstrap": 100,
        },
        "hydra": HYDRA,
    }
