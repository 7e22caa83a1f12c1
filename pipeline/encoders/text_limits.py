"""How many tokens of a text an encoder reads."""

from typing import Any

from pipeline.errors import CheckpointError

# these families number their positions from the padding id on, so that many positions are lost
_OFFSET_FAMILIES = {
    *("roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "xmod", "ibert", "mpnet"),
    *("data2vec-text", "longformer", "luke", "esm", "lilt", "layoutlmv3", "markuplm"),
    *("altclip_text_model", "clap_text_model"),
}
_NO_LIMIT = 10**9  # tokenizers mean "none" by an even larger number


def positions(config: Any) -> int | None:
    """The most tokens that a model's position embeddings allow; None where positions are relative."""
    count: int | None = getattr(config, "max_position_embeddings", None)
    if count is None or count <= 0:  # XLNet writes -1
        return None
    rotary = getattr(config, "position_embedding_type", "absolute") == "rotary"  # of ESM, which has no table then
    if config.model_type not in _OFFSET_FAMILIES or rotary:
        return count
    padding = 1 if config.model_type == "mpnet" else config.pad_token_id  # MPNet's is written into its code
    return count - int(padding + 1)


def default_limit(tokenizer_limit: int | None, most: int | None) -> int | None:
    """Where a checkpoint truncates by default: the smaller of its tokenizer's limit and its positions."""
    limits = [limit for limit in (tokenizer_limit, most) if limit is not None and limit < _NO_LIMIT]
    return min(limits, default=None)


def token_limit(requested: int | None, default: int | None, most: int | None, where: str) -> int:
    """The limit in use: the view's `max_tokens`, or the checkpoint's default.

    Raises:
        CheckpointError: the view asks for more than the positions allow, or neither view nor checkpoint has a limit.
    """
    if requested is not None and most is not None and requested > most:
        raise CheckpointError(f"{where} has {most} positions, the view asks for max_tokens {requested}; lower that")
    limit = requested or default
    if limit is None:
        raise CheckpointError(f"{where} sets no limit on the length of a text; set max_tokens in the view")
    return limit
