"""What users of sentence-transformers expect of a model beside `encode`; and what an aligner does not do, and why."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from pipeline.errors import DataError
from pipeline.inference.arguments import require_numbers, whole_number
from pipeline.inference.encode import Encode
from pipeline.inference.mixed import is_single

_TRAINING = "heads are trained by the DAG (`dvc repro`), and encoders stay frozen"
_ADAPTERS = "encoders are frozen and take no adapters"
_POOLS = 'pass several devices instead, encode(..., device=["cuda:0", "cuda:1"])'
_MODULES = "an aligner is no torch.nn.Sequential; export_sentence_transformers() writes one"
_TOKENS = "each encoder has its own tokenizer or processor; pass texts and pictures to encode()"
REFUSED = {
    **dict.fromkeys(("fit", "old_fit", "smart_batching_collate", "gradient_checkpointing_enable", "train"), _TRAINING),
    **dict.fromkeys(
        ("active_adapter", "active_adapters", "add_adapter", "check_peft_compatible_model", "delete_adapter",
         "disable_adapters", "enable_adapters", "get_adapter_state_dict", "has_peft_compatible_model", "load_adapter",
         "set_adapter"),
        _ADAPTERS,
    ),
    **dict.fromkeys(("start_multi_process_pool", "stop_multi_process_pool", "encode_multi_process"), _POOLS),
    **dict.fromkeys(("append", "extend", "insert", "pop", "forward", "get_sentence_features"), _MODULES),
    **dict.fromkeys(("tokenize", "tokenizer", "processor", "transformers_model", "get_model_kwargs"), _TOKENS),
    "set_pooling_include_prompt": "pooling belongs to the recorded encoder and is part of its fingerprint",
    "compile": "the stage `encode` compiles backbones (`compile: true` of its parameters)",
    "clear_placement_cache": "an aligner is placed by `to`, not by Accelerate",
    "load": "use Aligner.from_pretrained",
    "save_to_hub": "use push_to_hub",
    "merge": "aligners of other encoders or heads have no weights in common to average",
    "default_huggingface_organization": "names on the hub are whole, owner/name",
    "model_card_data_class": "the card is written from the run; see save_pretrained",
}  # fmt: skip


ARGUMENTS = {
    "modules": "an aligner is made of a fitted folder",
    "use_auth_token": "use token",
    "cache_folder": "use cache_dir",
    "model_kwargs": "use dtype and device_map; the rest is part of the encoder's fingerprint",
    "processor_kwargs": "preprocessing is part of the encoder's fingerprint",
    "config_kwargs": "the configuration is part of the encoder's fingerprint",
    "model_card_data": "the card is written from the run",
    "backend": "use export_onnx",
    "similarity_fn_name": "it is always cosine, which heads are fitted for",
}


def refuse_arguments(given: dict[str, object]) -> None:
    """Refuse arguments that sentence-transformers takes where it loads a model, each with what to do instead.

    Raises:
        DataError: there is one.
        TypeError: there is one that sentence-transformers does not know either.
    """
    for name in given:
        if name not in ARGUMENTS:
            raise TypeError(f"from_pretrained() got an unexpected keyword argument {name!r}")
        raise DataError(f"Aligner.from_pretrained takes no {name}: {ARGUMENTS[name]}.")


class Evaluations:
    """What evaluators of sentence-transformers found, for the model card."""

    def __init__(self) -> None:
        self.metrics: dict[str, dict[str, float]] = {}

    def set_evaluation_metrics(self, evaluator: Any, metrics: dict[str, Any], epoch: int = 0, step: int = 0) -> None:
        """Keep the metrics of an evaluator, by its class and name; called by the evaluator."""
        del epoch, step
        title = " ".join(filter(None, [type(evaluator).__name__, str(getattr(evaluator, "name", ""))]))
        self.metrics[title] = {key: float(value) for key, value in metrics.items()}


class Habits(Encode):
    """Similarity, modalities, widths and what evaluators ask for.

    Attributes:
        model_card_data: where an evaluator leaves its metrics.
    """

    SUPPORTED_SIMILARITY_FN_NAMES = ("cosine",)
    model_type = "Aligner"
    model_card_data: Evaluations

    @property
    def modalities(self) -> list[Any]:
        """What can be encoded: "image" and "text"."""
        return ["image", "text"]

    def supports(self, modality: Any) -> bool:
        """Whether inputs of a modality can be encoded; a tuple of modalities, for inputs of both at once, never."""
        return isinstance(modality, str) and modality in self.modalities

    def is_singular_input(self, inputs: Any) -> bool:
        """Whether `encode` answers with one vector."""
        return is_single(inputs)

    @property
    def similarity_fn_name(self) -> str:
        """ "cosine", which the heads were fitted for."""
        return "cosine"

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Cosines (N, M) float32 of two sets of vectors, (N, K) or (K,) each, arrays, tensors or lists of them.

        Raises:
            DataError: something else, or vectors of two widths.
        """
        one, other = _units(embeddings1, embeddings2)
        return one @ other.T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Cosines (N,) float32 of vectors at the same place of two sets; as `similarity`."""
        one, other = _units(embeddings1, embeddings2)
        if 1 not in (len(one), len(other)) and len(one) != len(other):
            raise DataError(f"Expected as many vectors on both sides, found {len(one)} and {len(other)}.")
        return (one * other).sum(dim=-1)

    def get_embedding_dimension(self) -> int:
        """Width of the vectors, after `truncate_dim`."""
        return min(self.embed_dim, self.truncate_dim or self.embed_dim)

    def get_sentence_embedding_dimension(self) -> int:
        """As `get_embedding_dimension`; the older name."""
        return self.get_embedding_dimension()

    @contextmanager
    def truncate_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Vectors that are encoded inside have this width."""
        chosen = None if truncate_dim is None else whole_number(truncate_dim, "truncate_dim")
        before, self.truncate_dim = self.truncate_dim, chosen
        try:
            yield
        finally:
            self.truncate_dim = before

    truncate_sentence_embeddings = truncate_embeddings

    def evaluate(self, evaluator: Any, output_path: str | None = None) -> Any:
        """What an evaluator of sentence-transformers finds about this model."""
        return evaluator(self, output_path)

    def eval(self) -> Any:
        """The model itself, which is always in evaluation mode."""
        return self

    def get_backend(self) -> str:
        """ "torch"."""
        return "torch"

    def __getattr__(self, name: str) -> Any:
        if name in REFUSED:
            raise AttributeError(f"Aligner has no {name}: {REFUSED[name]}.")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _units(*sides: Any) -> list[torch.Tensor]:
    """Sets of unit vectors (N, K) float32, of one width."""
    units = [_unit(vectors) for vectors in sides]
    widths = [unit.shape[1] for unit in units]
    if len(set(widths)) > 1:
        raise DataError(f"Expected vectors of one width, found {' and '.join(map(str, widths))}.")
    return units


def _unit(vectors: Any) -> torch.Tensor:
    parts = vectors if isinstance(vectors, list | tuple) else [vectors]
    try:
        tensors = [part if isinstance(part, torch.Tensor) else torch.as_tensor(np.asarray(part)) for part in parts]
        for tensor in tensors:
            require_numbers(tensor)
        tensor = torch.stack(tensors) if isinstance(vectors, list | tuple) else tensors[0]
    except (TypeError, ValueError, RuntimeError) as error:  # no numbers, or lists of several lengths
        raise DataError(
            f"Expected vectors (N, K) or (K,), as `encode` gives them, found {type(vectors).__name__} ({error})."
        ) from error
    tensor = tensor if tensor.ndim != 1 else tensor[None]
    if tensor.ndim != 2 or tensor.is_complex():
        raise DataError(f"Expected vectors (N, K) or (K,), found {tensor.dtype} {tuple(tensor.shape)}.")
    return torch.nn.functional.normalize(tensor.float(), dim=-1)
