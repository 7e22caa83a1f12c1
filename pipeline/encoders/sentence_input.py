"""The module of a sentence-transformers folder that takes the texts: what it counts, and where it cuts."""

from collections.abc import Sequence
from typing import Any

from pipeline.encoders.text_limits import default_limit, positions
from pipeline.encoders.token_counts import token_counts
from pipeline.errors import CheckpointError

UNLIMITED = 10**9  # of a module that averages tokens and cuts nothing


class SentenceInput:
    """The first module, or of a Router the first one on the route that `SentenceTransformer.encode` takes for texts.

    Attributes:
        positions: the most tokens that it can read; None without such a limit.
        cuts: whether it cuts texts at all; a StaticEmbedding does not.
        hidden: width of its token features; None where it gives none.
        name: class of its network.

    Raises:
        CheckpointError: a Router has several routes for texts and none by default, or the module is of another kind.
    """

    def __init__(self, model: Any, where: str) -> None:
        from sentence_transformers.base.modules import Router, Transformer
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding

        module = model[0]
        if isinstance(module, Router):
            taking = [
                name for name, route in module.sub_modules.items() if "text" in getattr(route[0], "modalities", ())
            ]
            if module.default_route is None and len(taking) == 1:  # the others take pictures or sounds
                module.default_route = taking[0]
            try:
                module = module.sub_modules[module._resolve_route(task=None, modality="text")][0]
            except (ValueError, KeyError) as error:
                raise CheckpointError(
                    f"{where}: its Router has several routes for texts ({', '.join(taking or module.sub_modules)}); "
                    "set default_route in its router_config.json"
                ) from error
        if not isinstance(module, (Transformer, StaticEmbedding)):
            raise CheckpointError(
                f"{where}: its first module is a {type(module).__name__}; sentence-transformers folders over a "
                "Transformer (CLIP-like ones too), a StaticEmbedding or a Router of these are supported"
            )
        self._module = module
        self.cuts = isinstance(module, Transformer)
        self.positions: int | None = None
        self.hidden: int | None = None
        self.name = type(module).__name__
        if self.cuts:
            network = module.auto_model
            self.positions = positions(network.config.get_text_config())
            self.hidden = getattr(network.config, "hidden_size", None)  # a dual encoder has none of its own
            self.name = type(network).__name__

    @property
    def tokenizer(self) -> Any:
        """Of the module, as its library holds it."""
        return self._module.tokenizer

    @property
    def limit(self) -> int | None:
        """Where the folder cuts texts by default, in tokens."""
        return default_limit(self._module.max_seq_length, self.positions) if self.cuts else None

    def cut_at(self, tokens: int) -> None:
        """Cut the next texts there."""
        if self.cuts:
            self._module.max_seq_length = tokens

    def counts(self, texts: Sequence[str], limit: int) -> list[int]:
        """Tokens of each text, special ones included, cut at `limit`."""
        if self.cuts:
            return token_counts(self._module.tokenizer, texts, limit)
        return [len(found) for found in self._module.tokenizer.encode_batch(list(texts), add_special_tokens=False)]
