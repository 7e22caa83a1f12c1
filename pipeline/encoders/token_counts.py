"""How many tokens texts have, for the price of tokenising them alone.

The tokenizers of transformers turn every text into lists of Python before anybody can count; that takes longer than
the tokenising itself, and on a GPU it would hold up the launching of kernels.
"""

from collections.abc import Sequence
from typing import Any


def token_counts(tokenizer: Any, texts: Sequence[str], limit: int) -> list[int]:
    """Number of tokens of each text, special tokens included, cut at `limit`.

    Args:
        tokenizer: of transformers; one with a Rust backend is asked directly. The backend keeps no truncation and no
            padding afterwards, which every later call of the tokenizer sets for itself.
    """
    if not getattr(tokenizer, "is_fast", False):
        return [len(ids) for ids in tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"]]
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return [min(len(encoding), limit) for encoding in backend.encode_batch_fast(list(texts))]
