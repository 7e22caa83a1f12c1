"""An aligner as a model that MTEB evaluates, tasks of texts, of pictures (MIEB) and of both.

    import mteb
    from pipeline.interop.mteb_model import MtebModel

    mteb.evaluate(MtebModel("data/models/default"), mteb.get_tasks(["Flickr30kT2IRetrieval"]))

MTEB itself is imported where its description of a model is made, and by nothing else here.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import langcodes
import numpy as np
from torch import Tensor

from pipeline.alignment.saved import CONFIG_FILE, heads_path
from pipeline.errors import ConfigError, DataError
from pipeline.inference import Aligner
from pipeline.inference.card import languages_of, total_parameters
from pipeline.languages import language_code

OWNER = "permafrost"  # MTEB wants names of two parts
_OTHERS = ("audio", "video")
_TEXT, _IMAGE = "text", "image"
_Rows = tuple[list[int], list[Any]]


class MtebModel:
    """MTEB's `EncoderProtocol` (mteb 2).

    Args:
        model_name: an aligner, or its folder or name on the hub as for `Aligner.from_pretrained`.
        revision: of the hub.
        device, options: as for `Aligner.from_pretrained`, with its errors.
    """

    def __init__(
        self, model_name: str | Path | Aligner, revision: str | None = None, device: str | None = None, **options: Any
    ) -> None:
        if isinstance(model_name, Aligner):
            self.aligner = model_name
        else:
            self.aligner = Aligner.from_pretrained(model_name, revision=revision, device=device or "auto", **options)
        self._name, self._revision = str(model_name), revision
        self._meta: Any = None

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any = None,
        hf_split: str = "",
        hf_subset: str = "",
        prompt_type: Any = None,
        batch_size: int = 32,
        **others: Any,
    ) -> np.ndarray:
        """Unit vectors (N, K) float32, in order.

        A row of text and picture is the sum of both vectors at unit length. The prompt "query" or "document" of the
        aligner stands before texts where it has one, by `prompt_type`.

        Args:
            inputs: batches, each with lists of equal length under "text" and "image" or one of them; a row may lack
                one of the two (None). Pictures are of any kind that `Aligner.encode_image` takes.
            task_metadata, hf_split, hf_subset: of the task; nothing depends on them.
            prompt_type: query or document, as text or as MTEB's own value.
            batch_size: inputs per forward pass.
            others: what MTEB hands to every model, such as show_progress_bar; nothing is made of it.

        Raises:
            DataError: rows of sound or film, or with nothing in them; and as `Aligner.encode`.
        """
        del task_metadata, hf_split, hf_subset, others
        kind = getattr(prompt_type, "value", prompt_type)
        parts = [self._batch(batch, kind, batch_size) for batch in inputs]
        return np.concatenate([np.empty((0, self.aligner.get_embedding_dimension()), np.float32), *parts])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosines (N, M), see `Aligner.similarity`."""
        return self.aligner.similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosines (N,), see `Aligner.similarity_pairwise`."""
        return self.aligner.similarity_pairwise(embeddings1, embeddings2)

    @property
    def mteb_model_meta(self) -> Any:
        """MTEB's description of the model.

        Its revision is a digest of configuration and heads, so that MTEB's cache of results never takes one aligner for
        another of the same name.

        Raises:
            ConfigError: MTEB is not installed.
        """
        if self._meta is None:
            self._meta = _described(self.aligner, self._name, self._revision)
        return self._meta

    @mteb_model_meta.setter
    def mteb_model_meta(self, meta: Any) -> None:
        self._meta = meta  # MTEB does so where it loads a model itself

    def _batch(self, batch: Mapping[str, Any], prompt_type: str | None, batch_size: int) -> np.ndarray:
        refused = [name for name in _OTHERS if any(value is not None for value in batch.get(name) or ())]
        if refused:
            raise DataError(f"An aligner has no vectors of {' and '.join(refused)}; leave such tasks out.")
        columns = {name: _present(batch.get(name)) for name in (_TEXT, _IMAGE)}
        count = max((len(batch[name]) for name in columns if batch.get(name) is not None), default=0)
        total = np.zeros((count, self.aligner.get_embedding_dimension()), np.float32)
        for name, (rows, values) in columns.items():
            if rows:
                total[rows] += self._encoded(name, values, prompt_type, batch_size)
        empty = np.flatnonzero(~np.isin(np.arange(count), [row for rows, _ in columns.values() for row in rows]))
        if empty.size or not count:
            found = ", ".join(map(str, batch)) or "nothing"
            raise DataError(f"Expected text or image in every row of a batch, found rows without (columns: {found}).")
        both = np.intersect1d(columns[_TEXT][0], columns[_IMAGE][0]).astype(int)
        total[both] /= np.maximum(np.linalg.norm(total[both], axis=1, keepdims=True), 1e-12)
        return total

    def _encoded(self, name: str, values: list[Any], prompt_type: str | None, batch_size: int) -> np.ndarray:
        if name == _IMAGE:
            found: np.ndarray = self.aligner.encode_image(values, batch_size=batch_size)
            return found
        encode = {"query": self.aligner.encode_query, "document": self.aligner.encode_document}.get(
            str(prompt_type), self.aligner.encode
        )
        vectors: np.ndarray = encode([{_TEXT: value} for value in values], batch_size=batch_size)
        return vectors


def _present(values: Sequence[Any] | None) -> _Rows:
    """Rows that have a value, and the values."""
    given = [(row, value) for row, value in enumerate(values if values is not None else ()) if value is not None]
    return [row for row, _ in given], [value for _, value in given]


def _described(aligner: Aligner, name: str, revision: str | None) -> Any:
    try:
        from mteb.languages import check_language_code
        from mteb.models import ModelMeta
    except ImportError as error:
        raise ConfigError(f"MTEB cannot be imported ({error}). Install it with: pip install 'mteb[image]'") from error
    folder = aligner.folder
    config = aligner.config
    hub = name if name.count("/") == 1 and not Path(name).expanduser().is_dir() and revision is not None else None
    recorded = config.fingerprints["text"]["described"].get("preprocessing") or {}
    lengths = [recorded.get("max_tokens"), config.fingerprints["text"]["compared"].get("max_tokens")]
    trusted = [entry["described"].get("source") for entry in config.fingerprints.values()]
    return ModelMeta(
        loader=MtebModel,
        name=hub or f"{OWNER}/{config.aligner}",
        revision=revision if hub else _digest(folder, aligner.repeat),
        release_date=None,
        languages=_codes(languages_of(config, folder), check_language_code) or None,
        n_parameters=total_parameters(config, folder),
        memory_usage_mb=None,
        max_tokens=min((float(length) for length in lengths if length), default=None),
        embed_dim=aligner.get_embedding_dimension(),
        license=None,  # heads are their maker's, encoders have their own
        open_weights=True if set(trusted) <= {"hub", "embedded"} else None,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch"],
        similarity_fn_name="cosine",
        use_instructions=bool(aligner.prompts),
        training_datasets=None,  # of the frozen encoders it is not known
        modalities=[_IMAGE, _TEXT],
        experiment_kwargs=None,
    )


def _digest(folder: Path, repeat: int) -> str:
    """SHA-256 of configuration and heads, as long as a commit's name."""
    files = [path for path in (folder / CONFIG_FILE, heads_path(folder, repeat)) if path.is_file()]
    parts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:40]


def _codes(languages: Iterable[str], check: Any) -> list[str]:
    """Languages of the data as MTEB writes them, "eng-Latn"; those that it does not know are left out."""

    def each() -> Iterator[str]:
        for language in filter(None, map(language_code, languages)):
            likely = langcodes.Language.get(language).maximize()
            code = f"{likely.to_alpha3()}-{likely.script}"
            try:
                check(code)
            except (ValueError, KeyError, LookupError):
                continue
            yield code

    return sorted(set(each()))
