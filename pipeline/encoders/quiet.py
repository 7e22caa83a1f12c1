"""Loading a model of transformers without its progress bar, and its report as a value instead of a log message."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

_MISSING = re.compile(r"^(\S+)\s*\|\s*(?:\x1b\[[\d;]*m)*MISSING", re.MULTILINE)


class _Taken(logging.Filter):
    """Keeps reports of loading from the log."""

    def __init__(self) -> None:
        super().__init__()
        self.missing: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record goes on to the log."""
        text = record.getMessage()
        if "LOAD REPORT" not in text:
            return True
        self.missing += _MISSING.findall(text)
        return False


@contextmanager
def quiet_loading() -> Iterator[list[str]]:
    """Inside the block models load without a bar; the list holds the weights that they lack.

    The report of transformers is meant for whoever goes on training. Here its callers decide which weights are needed.
    """
    from transformers.utils.logging import set_tqdm_hook

    taken, logger = _Taken(), logging.getLogger("transformers.modeling_utils")
    logger.addFilter(taken)
    other = logging.getLogger("sentence_transformers")  # says at level INFO that it loads
    level = other.level
    other.setLevel(max(level, logging.WARNING))
    before = set_tqdm_hook(lambda factory, args, options: factory(*args, **{**options, "disable": True}))
    try:
        yield taken.missing
    finally:
        set_tqdm_hook(before)
        logger.removeFilter(taken)
        other.setLevel(level)
