"""Ids as a caller gives them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.coded import Coded
from pipeline.errors import DataError
from pipeline.ids import Ids


def id_list(ids: Any, where: object) -> Sequence[str] | np.ndarray | Coded:
    """Ids with an order and a length: what has them as it is, of a generator or a column a list.

    Args:
        where: the store, for messages.

    Raises:
        DataError: it is no list of strings; one string is none either.
    """
    if isinstance(ids, Ids | Coded) or (isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype.kind in "UT"):
        return ids
    if isinstance(ids, (str, bytes)) or (isinstance(ids, np.ndarray) and ids.ndim != 1):
        raise DataError(f"{where}: expected a list of ids, found {ids!r}. For one id write [{ids!r}].")
    if isinstance(ids, (set, frozenset, Mapping)) or not isinstance(ids, Iterable):
        kind = type(ids).__name__
        raise DataError(f"{where}: expected a list of ids, in the order of the rows, found {ids!r:.80} ({kind}).")
    listed: Sequence[Any] = ids if isinstance(ids, (list, tuple)) else list(ids)
    if not set(map(type, listed)) <= {str, np.str_}:  # fast
        for place, one in enumerate(listed):
            if not isinstance(one, str):
                kind = type(one).__name__
                raise DataError(f"{where}: id {place} should be a string, found {one!r:.80} ({kind}).")
    return listed
