"""Encodes the rows of one shard: images in parallel batches, texts in batches of similar length."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from pipeline.config import EncodeParams, ImageView, TextView
from pipeline.encoders.image import ImageEncoder, ImageFeatures
from pipeline.encoders.memory import explain_out_of_memory
from pipeline.encoders.pixel_bytes import PixelBytes
from pipeline.encoders.text_encoder import TextBatch, TextEncoder
from pipeline.encoders.tower import patch_mean
from pipeline.encoding.batch_size import resolved_batch_size
from pipeline.encoding.chunks import chunks
from pipeline.encoding.preparing import Preparation, PreparationProcesses, Prepared, PreparedBatch
from pipeline.encoding.protocol import Batch
from pipeline.encoding.regions import own_region_means, region_means
from pipeline.encoding.texts import texts_of
from pipeline.encoding.workers import DeviceSlots, OrderedWorkers, count_workers, pinned, to_host
from pipeline.errors import CheckpointError
from pipeline.features import ArraySpec
from pipeline.features.ragged import LENGTH

TOKENS, CHUNKED, CROP = "tokens", "chunked", "crop_"
Placed = tuple[tuple[int, ...], tuple[str, ...]]  # where the rows of a batch belong, and their ids
PlacedTexts = tuple[tuple[int, ...], tuple[str, ...], tuple[int, ...]]  # the same with texts and their lengths
NOT_FINITE = "the encoder gave NaN or infinite features"
NO_TOKENS = "the text has no tokens for this encoder's tokenizer"


class ImageRows:
    """CLS (or pooled) and patch-mean tokens of each kept layer, and local tokens of the last, by tier.

    Of an encoder without patches there is the pooled output alone. With `crops: N` of the view there are the same of N
    crops, `crop_cls` and `crop_mean` (N, L, D) and with tier grid `crop_grid` (N, G, D), but no patch tokens.
    """

    def __init__(
        self, encoder: ImageEncoder, view: ImageView, load: Callable[[str], Image.Image], params: EncodeParams
    ) -> None:
        """Take the encoder as it was loaded for the view.

        Args:
            load: an id -> an RGB image; it goes to other processes if `params.decode` says so.

        Raises:
            CheckpointError: the encoder has nothing for the tier of the view.
        """
        _check_tier(encoder, view)
        self._encoder, self._view = encoder, view
        self._batch_size = resolved_batch_size(params.batch_size)
        self._slots = DeviceSlots(encoder.device)
        workers = count_workers(params.workers, encoder.device)
        self._workers = OrderedWorkers(self._encode, workers)
        self._prepare: Callable[[Sequence[str]], PreparedBatch] = Preparation(load, encoder.preprocess, view)
        self._bytes: PixelBytes | None = None
        if params.decode == "processes":
            self._bytes = PixelBytes.proven(encoder.preprocess)
            preparation = Preparation(load, self._bytes or encoder.preprocess, view)
            self._prepare = PreparationProcesses(preparation, max(1, workers))
        self._later: Iterable[Sequence[str]] = ()
        layers, width = len(encoder.layers), encoder.width
        grid_height, grid_width = encoder.patch_grid
        specs = [ArraySpec("cls", (layers, width), view.dtype)]
        self._has_patches = encoder.grids_vary or grid_height * grid_width > 0
        if self._has_patches:
            specs.append(ArraySpec("mean", (layers, width), view.dtype))
        if view.tier == "grid":
            specs.append(ArraySpec("grid", (view.grid**2, width), view.dtype))
        if view.tier == "full":
            specs.append(ArraySpec("patch", (grid_height * grid_width, width), view.dtype))
        if view.crops:
            of_crops = [spec for spec in specs if spec.name != "patch"]
            specs += [ArraySpec(CROP + s.name, (view.crops, *s.row_shape), s.dtype) for s in of_crops]
        self.specs = tuple(specs)
        self.notes: dict[str, object] = {"patch_grid": [grid_height, grid_width], "batch_size": self._batch_size}

    def prefetch(self, later: Iterable[Sequence[str]]) -> None:
        """See `PrefetchingRowEncoder`."""
        self._later = later

    def encode(self, ids: Sequence[str]) -> Iterator[Batch]:
        """See `RowEncoder`. A sample that cannot be read is a row with a reason."""
        following = (batch for shard in self._later for batch in self._batches(shard))
        return self._workers.results(list(self._batches(ids)), following)

    def _batches(self, ids: Sequence[str]) -> Iterator[Placed]:
        for start in range(0, len(ids), self._batch_size):
            part = tuple(ids[start : start + self._batch_size])
            yield tuple(range(start, start + len(part))), part

    def _encode(self, placed: Placed) -> Batch:
        positions, ids = placed
        return self._forward(list(positions), self._prepare(ids))

    def forward(self, positions: list[int], inputs: Sequence[Prepared]) -> Batch:
        """Encode preprocessed images (3, H, W); a string in place of one is the reason why it could not be read.

        With `crops: N` of the view an image is (1 + N, 3, H, W), itself and then its crops.
        """
        return self._forward(positions, PreparedBatch.of(inputs))

    def _forward(self, positions: list[int], prepared: PreparedBatch) -> Batch:
        readable = [row for row, reason in enumerate(prepared.reasons) if reason is None]
        arrays: dict[str, np.ndarray] = {}
        if readable:
            pixels = pinned(prepared.pixels, self._encoder.device)
            advice = "lower encode.batch_size or the resolution, or compute in `dtype: bfloat16`"
            with self._slots.slot(), explain_out_of_memory(f"A batch of {len(pixels)} images", advice):
                if pixels.dtype == torch.uint8:
                    assert self._bytes is not None
                    pixels = self._bytes.restored(pixels, self._encoder.device)
                arrays = {name: to_host(values) for name, values in self._arrays(pixels).items()}
        if len(readable) < len(positions):
            arrays = {spec.name: _spread(spec, arrays.get(spec.name), readable, len(positions)) for spec in self.specs}
        return _checked(Batch(positions, arrays, list(prepared.reasons)))

    def _arrays(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        if not self._view.crops:
            return self._whole(pixels)
        whole, *parts = (self._whole(pixels[:, number]) for number in range(pixels.shape[1]))
        named = [name for name in whole if name != "patch"]
        return whole | {CROP + name: torch.stack([part[name] for part in parts], dim=1) for name in named}

    def _whole(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self._encoder.forward(pixels)
        arrays = {"cls": features.cls}
        if self._has_patches:
            arrays["mean"] = patch_mean(features.patch, features.grids)
        if self._view.tier == "grid":
            arrays["grid"] = self._regions(features)
        if self._view.tier == "full":
            arrays["patch"] = features.patch[:, -1]
        return arrays

    def _regions(self, features: ImageFeatures) -> torch.Tensor:
        last, grid = features.patch[:, -1], self._view.grid
        if features.grids is None:
            return region_means(last, self._encoder.patch_grid, grid)
        return own_region_means(last, features.grids, grid)


class TextRows:
    """The sentence embedding of each text, those of its truncations if the view names any, and its tokens.

    Arrays: `pooled` (D,); `truncated` (T, D), the text cut at each of T rising numbers of tokens; `chunked` (D,), the
    mean over pieces of `chunk_tokens`, each weighted by its tokens; with `tier: full` the ragged `tokens` (H,), the
    last hidden state of every token, special ones and the prefix included. A text without tokens, as an empty one is
    where no special tokens are added, is a row with a reason: it would get the features of padding.
    """

    def __init__(self, encoder: TextEncoder, view: TextView, strings: Mapping[str, str], params: EncodeParams) -> None:
        """Take the encoder as it was loaded for the view.

        Raises:
            CheckpointError: a truncation goes beyond what the encoder reads, or a piece is not shorter.
        """
        self._encoder, self._strings, self._batch_size = encoder, strings, resolved_batch_size(params.text_batch_size)
        self._workers = OrderedWorkers(self._encode, count_workers(params.workers, encoder.device))
        self._slots = DeviceSlots(encoder.device)
        self._later: Iterable[Sequence[str]] = ()
        self._measured: tuple[tuple[str, ...], np.ndarray] = (), np.empty(0, dtype=np.int64)
        self._truncations, self._templates = view.truncations, view.templates
        if self._truncations and self._truncations[-1] > encoder.max_tokens:
            raise CheckpointError(
                f"The view truncates texts at {self._truncations[-1]} tokens, its encoder reads {encoder.max_tokens}: "
                "set max_tokens of the view, or lower its truncations"
            )
        self._chunk_tokens = view.chunk_tokens
        if self._chunk_tokens and self._chunk_tokens >= encoder.max_tokens:
            raise CheckpointError(
                f"The view cuts texts into pieces of {self._chunk_tokens} tokens, its encoder reads "
                f"{encoder.max_tokens}: lower chunk_tokens, which is for texts that are longer"
            )
        specs = [ArraySpec("pooled", (encoder.width,), view.dtype)]
        if self._truncations:
            specs.append(ArraySpec("truncated", (len(self._truncations), encoder.width), view.dtype))
        if self._chunk_tokens:
            specs.append(ArraySpec(CHUNKED, (encoder.width,), view.dtype))
        self._keeps_tokens = view.tier == "full"
        if self._keeps_tokens:
            specs.append(ArraySpec(TOKENS, (encoder.token_width,), view.dtype, most=encoder.max_tokens))
        self.specs: tuple[ArraySpec, ...] = tuple(specs)
        self.notes: dict[str, object] = {"max_tokens": encoder.max_tokens, "batch_size": self._batch_size}

    def prefetch(self, later: Iterable[Sequence[str]]) -> None:
        """See `PrefetchingRowEncoder`."""
        self._later = later

    def encode(self, ids: Sequence[str]) -> Iterator[Batch]:
        """See `RowEncoder`. Texts of similar length share a batch, so little is padded."""
        following = (batch for shard in self._later for batch in self._batches(shard))
        return self._workers.results(list(self._batches(ids)), following)

    def _batches(self, ids: Sequence[str]) -> Iterator[PlacedTexts]:
        asked = tuple(ids)
        if self._measured[0] != asked:  # a shard is asked for twice, ahead of its turn and in its turn
            self._measured = asked, np.array(self.tokens(ids), dtype=np.int64)
        lengths = self._measured[1]
        order = np.argsort(lengths, kind="stable")
        for start in reversed(range(0, len(order), self._batch_size)):  # at the end no thread waits for a long one
            positions = order[start : start + self._batch_size]
            texts = tuple(texts_of(self._strings, [ids[position] for position in positions]))
            yield tuple(positions.tolist()), texts, tuple(lengths[positions].tolist())

    def _encode(self, placed: PlacedTexts) -> Batch:
        positions, texts, lengths = list(placed[0]), list(placed[1]), np.array(placed[2], dtype=np.int64)
        kept = np.flatnonzero(lengths)
        if len(kept) == len(texts):
            return self._of_tokens(positions, texts, lengths)
        arrays: dict[str, np.ndarray] = {}
        reasons: list[str | None] = [NO_TOKENS] * len(texts)
        if kept.size:
            part = self._of_tokens([positions[k] for k in kept], [texts[k] for k in kept], lengths[kept])
            arrays = dict(part.arrays)
            for place, reason in zip(kept, part.reasons, strict=True):
                reasons[place] = reason
        for spec in self.specs:
            if spec.ragged:
                counts = np.zeros(len(texts), dtype=np.int64)
                counts[kept] = arrays.get(spec.name + LENGTH, 0)
                arrays[spec.name + LENGTH] = counts
                arrays.setdefault(spec.name, np.empty((0, *spec.row_shape), np.float32))
            else:
                arrays[spec.name] = _spread(spec, arrays.get(spec.name), kept, len(texts))
        return Batch(positions, arrays, reasons)

    def _of_tokens(self, positions: list[int], texts: list[str], lengths: np.ndarray) -> Batch:
        advice = "lower encode.text_batch_size or the view's max_tokens, or compute in `dtype: bfloat16`"
        filled = [[template.replace("{}", text) for text in texts] for template in self._templates] or [texts]
        batches = [self._encoder.prepare(part) for part in filled]  # while others occupy the device
        with self._slots.slot(), explain_out_of_memory(f"A batch of {len(texts)} texts", advice):
            if self._keeps_tokens:
                return self._with_tokens(positions, texts, batches[0], lengths)
            arrays = {"pooled": self._pooled(batches)}
            return _checked(Batch(positions, self._extended(arrays, texts, lengths), [None] * len(texts)))

    def tokens(self, ids: Sequence[str]) -> list[int]:
        """See `RaggedRowEncoder`. With templates a text has tokens where each of them gives it some."""
        texts = texts_of(self._strings, ids)
        counts = self._encoder.lengths(texts)
        if self._templates and not all(counts):
            filled = [self._encoder.lengths([t.replace("{}", text) for text in texts]) for t in self._templates]
            counts = [max(count, min(row)) for count, *row in zip(counts, *filled, strict=True)]
        return counts

    def _pooled(self, batches: list[TextBatch]) -> np.ndarray:
        """Sentence embeddings (B, D); with templates the mean over them, one forward pass each."""
        pooled = [to_host(self._encoder.encode(batch)) for batch in batches]
        mean: np.ndarray = np.mean(pooled, axis=0) if self._templates else pooled[0]
        return mean

    def _with_tokens(self, positions: list[int], texts: list[str], batch: TextBatch, lengths: np.ndarray) -> Batch:
        features = self._encoder.encode_tokens(batch)
        mask = features.mask.cpu().numpy()
        tokens = to_host(features.tokens)
        finite = np.isfinite(tokens).all(axis=2) | ~mask
        arrays = {"pooled": to_host(features.pooled)}
        reasons = [None if row.all() else NOT_FINITE for row in finite]
        checked = _checked(Batch(positions, self._extended(arrays, texts, lengths), reasons))
        ragged = {TOKENS: tokens[mask], TOKENS + LENGTH: mask.sum(axis=1)}
        return Batch(positions, {**checked.arrays, **ragged}, checked.reasons)

    def _extended(self, arrays: dict[str, np.ndarray], texts: list[str], lengths: np.ndarray) -> dict[str, np.ndarray]:
        if self._truncations:
            arrays["truncated"] = self._truncated(texts, lengths, arrays["pooled"])
        if self._chunk_tokens:
            arrays[CHUNKED] = self._chunked(texts, lengths, arrays["pooled"], self._chunk_tokens)
        return arrays

    def _chunked(self, texts: list[str], lengths: np.ndarray, pooled: np.ndarray, limit: int) -> np.ndarray:
        """Mean embeddings (B, D) over the pieces of each text; one that is a single piece is not encoded again."""
        out = pooled.copy()
        for row in np.flatnonzero(lengths > limit):
            pieces = chunks(texts[row], self._encoder.lengths, limit)
            weights = np.array(self._encoder.lengths(pieces), dtype=np.float64)
            parts = [
                to_host(self._encoder.encode(pieces[start : start + self._batch_size], limit))
                for start in range(0, len(pieces), self._batch_size)
            ]
            out[row] = np.average(np.concatenate(parts), axis=0, weights=weights)
        return out

    def _truncated(self, texts: list[str], lengths: np.ndarray, pooled: np.ndarray) -> np.ndarray:
        """Embeddings (B, T, D) of the texts cut at each truncation; a text that it does not cut is not encoded again.

        Args:
            lengths: (B,) int64, tokens of each text as it was encoded for `pooled` (B, D).
        """
        out = np.empty((len(texts), len(self._truncations), pooled.shape[1]), dtype=np.float32)
        longer = pooled
        for place, limit in reversed(list(enumerate(self._truncations))):
            out[:, place] = longer
            cut = np.flatnonzero(lengths > limit)
            if cut.size:
                values = self._encoder.encode([texts[row] for row in cut], limit)
                out[cut, place] = to_host(values)
            longer = out[:, place]
        return out


def _check_tier(encoder: ImageEncoder, view: ImageView) -> None:
    if view.tier == "full" and encoder.grids_vary:
        raise CheckpointError(
            "The view has tier full, and its encoder gives every picture a grid of patches of its own; set "
            "`fit: whole`, so that each is resized to the same square, or tier grid or cls"
        )
    if view.tier != "cls" and not encoder.grids_vary and not math.prod(encoder.patch_grid):
        raise CheckpointError(
            f"The view has tier {view.tier}, and its encoder gives one vector per picture and no patches; set "
            "`tier: cls`"
        )


def _spread(spec: ArraySpec, values: np.ndarray | None, places: np.ndarray | list[int], count: int) -> np.ndarray:
    """`count` rows, those at `places` with their values and the others NaN; all NaN where there are no values."""
    spread = np.full((count, *spec.row_shape), np.nan, dtype=np.float32)
    if values is not None:
        spread[places] = values
    return spread


def _checked(batch: Batch) -> Batch:
    """Mark rows with NaN or infinity as failed, so that they are never stored as features."""
    finite = np.ones(len(batch.reasons), dtype=bool)
    for values in batch.arrays.values():
        finite &= np.isfinite(values).reshape(len(finite), -1).all(axis=1)
    for row in np.flatnonzero(~finite).tolist():
        batch.reasons[row] = batch.reasons[row] or NOT_FINITE
    return batch
