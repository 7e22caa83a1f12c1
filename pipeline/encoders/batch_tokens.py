"""Texts to the batch that a model takes, without a list of Python per token.

The tokenizers of transformers turn every text into lists and these into a tensor, and sentence-transformers first asks
of each text whether it is a picture. That takes several times as long as the tokenising itself and holds Python's lock,
which a GPU's kernels wait for. The backend in Rust does its part on all cores without that lock; here its ids become
arrays, and these a batch.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch

_IDS, _MASK, _TYPES = "input_ids", "attention_mask", "token_type_ids"
_PROBES = ("", " A red\tKite ", "kite.", "Ünï ✓ 漢字 🪁\n</s> [SEP] <|endoftext|>", "Don't fly 1,234 kites; it's windy")
_LONGEST_PROBE = 600  # tokens that a probe is to exceed, where the limit is not below
_KEPT = 1 << 20  # tokens, some 100 MB, of texts that were counted and will be asked for
Whole = Callable[[list[str], int], Mapping[str, Any]]  # texts and a limit -> the batch as the library makes it


class BatchTokens:
    """Makes the same batches as a library, faster; calls must not overlap, as the backend has a state."""

    def __init__(self, tokenizer: Any, prefix: str, length: int | None, keys: Sequence[str], constant: dict[str, Any]):
        self._tokenizer, self._prefix, self._length = tokenizer, prefix, length
        self._keys, self._constant = keys, constant
        self._counted: dict[tuple[str, int], Any] = {}
        self._counted_tokens = 0

    @classmethod
    def proven(
        cls, tokenizer: Any, whole: Whole, limit: int, prefix: str = "", length: int | None = None
    ) -> "BatchTokens | None":
        """Tokens for `tokenizer` if they equal those of the library on a number of texts; None if they do not.

        Args:
            tokenizer: of transformers.
            whole: the library's own way.
            limit: the most tokens of a text.
            prefix: what the library puts before every text.
            length: pad to this; else to the longest text of the batch.
        """
        if not getattr(tokenizer, "is_fast", False) or tokenizer.pad_token_id is None:
            return None
        probes = [*_PROBES, "kite " * (min(limit, _LONGEST_PROBE) + 3)]
        tokens = None
        for most in dict.fromkeys((limit, min(limit, 8))):
            for texts in (probes, probes[1:3]):
                try:
                    expected = whole(texts, most)
                except Exception:  # a model may refuse one of these texts, and not those that it is used for
                    return None
                if tokens is None:
                    keys = [key for key in (_IDS, _MASK, _TYPES) if key in expected]
                    constant = {key: value for key, value in expected.items() if not isinstance(value, torch.Tensor)}
                    tokens = cls(tokenizer, prefix, length, keys, constant)
                if not _same(tokens(texts, most), expected):
                    return None
        return tokens

    def __call__(self, texts: Sequence[str], limit: int) -> dict[str, Any]:
        """Texts as a batch of int64 tensors (B, T), cut at `limit` tokens; counted texts are not tokenised again."""
        found = [self._counted.pop((text, limit), None) for text in texts]
        missing = iter(self._encoded([text for text, known in zip(texts, found, strict=True) if known is None], limit))
        encodings = [next(missing) if known is None else known for known in found]
        lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
        self._counted_tokens -= sum(len(known) for known in found if known is not None)
        width = self._length or int(lengths.max(initial=0))
        places = np.arange(width)
        if self._tokenizer.padding_side == "left":
            places = places[::-1]
        mask = places < lengths[:, None]
        total, tokenizer = int(lengths.sum()), self._tokenizer
        batch: dict[str, Any] = dict(self._constant)
        for key in self._keys:
            if key == _MASK:
                batch[key] = torch.from_numpy(mask.astype(np.int64))
                continue
            rows, padding = [encoding.ids for encoding in encodings], tokenizer.pad_token_id
            if key == _TYPES:
                rows, padding = [encoding.type_ids for encoding in encodings], tokenizer.pad_token_type_id
            values = np.full(mask.shape, padding, np.int64)
            values[mask] = np.fromiter(chain.from_iterable(rows), np.int64, total)
            batch[key] = torch.from_numpy(values)
        return batch

    def counts(self, texts: Sequence[str], limit: int) -> list[int]:
        """Tokens of each text, special ones included, cut at `limit`."""
        encodings = self._encoded(texts, limit)
        counts = [len(encoding) for encoding in encodings]
        total = sum(counts)
        if self._counted_tokens + total > _KEPT:
            self._counted, self._counted_tokens = {}, 0
        if total <= _KEPT:
            self._counted |= {(text, limit): encoding for text, encoding in zip(texts, encodings, strict=True)}
            self._counted_tokens += total
        return counts

    def _encoded(self, texts: Sequence[str], limit: int) -> list[Any]:
        from transformers.tokenization_utils_base import TruncationStrategy
        from transformers.utils import PaddingStrategy

        self._tokenizer.set_truncation_and_padding(
            padding_strategy=PaddingStrategy.DO_NOT_PAD,
            truncation_strategy=TruncationStrategy.LONGEST_FIRST,
            max_length=limit,
            stride=0,
            pad_to_multiple_of=None,
            padding_side=None,
        )
        if not texts:
            return []
        prefixed = [self._prefix + text for text in texts] if self._prefix else list(texts)
        encodings: list[Any] = self._tokenizer.backend_tokenizer.encode_batch_fast(prefixed)
        return encodings


def _same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    if set(found) != set(expected):
        return False
    for key, value in expected.items():
        other = found[key]
        if not isinstance(value, torch.Tensor):
            if value != other:
                return False
        elif not isinstance(other, torch.Tensor) or value.dtype != other.dtype or not torch.equal(value, other):
            return False
    return True
