"""`encode` and its kin, by the names and defaults of sentence-transformers."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any, Self, Unpack

import numpy as np
import torch
from tqdm import tqdm

from pipeline.arithmetic import own_arithmetic
from pipeline.errors import DataError
from pipeline.inference.arguments import string
from pipeline.inference.inputs import ImageLike, image_list, text_list
from pipeline.inference.mixed import MODALITIES, is_single, told_apart, windows
from pipeline.inference.options import Devices, Options, Precision, Wanted, log
from pipeline.inference.sounds import SoundLike, sound_list

_DOCUMENT_PROMPTS = ("document", "passage", "corpus")  # the names that sentence-transformers looks for


class Encode(ABC):
    """Vectors of texts and pictures; the model behind them is the subclass's.

    Attributes:
        prompts: strings that stand before a text, by name, as of sentence-transformers.
        default_prompt_name: the one that `encode` uses where none is named; None for none.
        truncate_dim: vectors are cut to this width where a call does not say another; None for their whole width.
    """

    prompts: dict[str, str]
    default_prompt_name: str | None
    truncate_dim: int | None

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where it computes."""

    @abstractmethod
    def on(self, device: str | torch.device) -> Self:
        """A model of the same vectors on another device."""

    @abstractmethod
    def embed_pictures(
        self, images: Sequence[ImageLike], batch_size: int, urls: bool = False, places: Sequence[int] | None = None
    ) -> np.ndarray:
        """Unit vectors (N, K) float32; messages name a picture by its number in `places`."""

    @abstractmethod
    def embed_sentences(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """Unit vectors (N, K) float32."""

    def embed_sounds(
        self, sounds: Sequence[SoundLike], batch_size: int, places: Sequence[int] | None = None
    ) -> np.ndarray:
        """Unit vectors (N, K) float32; messages name a sound by its number in `places`.

        Raises:
            DataError: the model takes no sounds.
        """
        del sounds, batch_size, places
        raise DataError(f"{type(self).__name__} takes pictures and texts; it has no encoder of sounds.")

    @property
    @abstractmethod
    def embed_dim(self) -> int:
        """K."""

    @own_arithmetic()
    def encode(
        self,
        inputs: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str = "sentence_embedding",
        precision: Precision | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Devices | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: None = None,
        chunk_size: int | None = None,
        *,
        task: str | None = None,
        modality: str | None = None,
        urls: bool = False,
    ) -> Any:
        """Vectors of texts, pictures and sounds in one list: unit vectors (N, K) float32, of one input (K,), in order.

        Args:
            inputs: one text or picture, or many of them: a list, a tuple, a generator, or an array of four axes. A
                picture is a PIL image, a path, the bytes of a file, an array (H, W, C) or a tensor (C, H, W) of uint8
                or of floats from 0 to 1, channels in the order RGB(A). A sound, where the aligner takes some, is a
                path, the bytes of a file, or samples with their rate (see `encode_audio`). A string is a text, unless
                it is the path of a picture or sound file; {"text": ...}, {"image": ...} and {"audio": ...} leave
                nothing to guess.
            prompt_name: which of `prompts` stands before each text; the one of `default_prompt_name` where None.
            prompt: the string itself, which counts before `prompt_name`. The prefix that the heads were fitted with
                stays in front of it.
            batch_size: inputs per forward pass.
            show_progress_bar: None for a bar where this package logs at INFO.
            output_value: "sentence_embedding".
            precision: "int8", "uint8", "binary" or "ubinary" quantise by sentence-transformers' own function.
            convert_to_numpy: an array; where false a list of tensors.
            convert_to_tensor: one tensor on the model's device.
            device: where to compute from now on; several devices share the inputs of this call.
            normalize_embeddings: bring vectors to unit length; they have it unless `truncate_dim` cuts them.
            truncate_dim: only so many first numbers of a vector.
            pool: None.
            chunk_size: inputs that are held and handed to a device together; at least 256 where None.
            task: "query" or "document", as other models of sentence-transformers tell them apart; it changes nothing.
            modality: "text", "image" or "audio" of all inputs, so that nothing is guessed.
            urls: whether addresses of pictures are fetched.

        Raises:
            DataError: an input that is neither text nor picture, a file that cannot be read, an impossible argument.
            CheckpointError, FingerprintMismatch: an encoder is not available, or not the one of training.
            ConfigError: this machine lacks the device.
        """
        wanted = Wanted(
            batch_size, show_progress_bar, output_value, precision, convert_to_numpy, convert_to_tensor, device,
            normalize_embeddings, self.truncate_dim if truncate_dim is None else truncate_dim, pool, chunk_size, urls,
        )  # fmt: skip
        if modality not in (None, *MODALITIES):
            raise DataError(f"modality must be one of {', '.join(MODALITIES)}, found {modality!r}.")
        if task not in (None, "query", "document"):
            raise DataError(f"task must be query or document, found {task!r}; it changes nothing here.")
        prompt = self._resolve_prompt(prompt, prompt_name)
        single = is_single(inputs)
        vectors = self._vectors([inputs] if single else inputs, prompt or "", modality, wanted)
        found = wanted.finish(vectors, self.device)
        return found[0] if single else found

    def encode_query(
        self, inputs: Any, prompt_name: str | None = None, prompt: str | None = None, **options: Unpack[Options]
    ) -> Any:
        """As `encode`, with the prompt "query" where there is one and no other is named."""
        if prompt is None and prompt_name is None and "query" in self.prompts:
            prompt_name = "query"
        return self.encode(inputs, prompt_name, prompt, task="query", **options)

    def encode_document(
        self, inputs: Any, prompt_name: str | None = None, prompt: str | None = None, **options: Unpack[Options]
    ) -> Any:
        """As `encode`, with the prompt "document", "passage" or "corpus" where there is one and no other is named."""
        if prompt is None and prompt_name is None:
            prompt_name = next((name for name in _DOCUMENT_PROMPTS if name in self.prompts), None)
        return self.encode(inputs, prompt_name, prompt, task="document", **options)

    def encode_image(self, images: Any, **options: Unpack[Options]) -> Any:
        """Unit vectors (N, K) float32 of pictures, N = 1 for one of them; everything given is a picture.

        The same as heads applied to stored features of these pictures, up to the order of sums in a batch.

        Args:
            images: as for `encode`; a string is a path.
            options: as for `encode`.

        Raises:
            DataError: an empty list, not an image, or a file that cannot be read.
            CheckpointError, FingerprintMismatch: the encoder is not available, or not the one of training.
        """
        return self.encode(image_list(images), modality="image", **options)

    def encode_text(
        self, texts: Any, *, prompt_name: str | None = None, prompt: str | None = None, **options: Unpack[Options]
    ) -> Any:
        """Unit vectors (N, K) float32 of texts, N = 1 for one of them; errors and options as `encode_image`."""
        options = {"batch_size": 64, **options}
        return self.encode(text_list(texts), prompt_name, prompt, modality="text", **options)

    def encode_audio(self, sounds: Any, **options: Unpack[Options]) -> Any:
        """Unit vectors (N, K) float32 of sounds, N = 1 for one of them; everything given is a sound.

        The same as heads applied to stored features of these sounds, up to the order of sums in a batch.

        Args:
            sounds: one or many: paths, bytes of files, (samples, rate), or {"array": samples, "sampling_rate": rate}
                as the library `datasets` has it; samples (n,) or (channels, n).
            options: as for `encode`.

        Raises:
            DataError: an empty list, not a sound, a file that cannot be read, or an aligner that takes no sounds.
            CheckpointError, FingerprintMismatch: the encoder is not available, or not the one of training.
        """
        return self.encode(sound_list(sounds), modality="audio", **options)

    def _resolve_prompt(self, prompt: str | None, name: str | None) -> str | None:
        if prompt is not None:
            string(prompt, "prompt")
            if name is not None:
                log.warning("prompt and prompt_name are both given; %r is used", prompt)
            return prompt
        name = name if name is not None else self.default_prompt_name
        if name is None:
            return None
        if string(name, "prompt_name") not in self.prompts:
            raise DataError(f"There is no prompt {name!r}; `prompts` has: {', '.join(self.prompts) or 'none'}.")
        return self.prompts[name]

    def _vectors(self, inputs: Iterable[Any], prompt: str, modality: str | None, wanted: Wanted) -> np.ndarray:
        devices = wanted.devices
        total = len(inputs) if isinstance(inputs, Sized) else None
        starts = count(0, wanted.window)
        jobs = ((start, window) for start, window in zip(starts, windows(inputs, wanted.window), strict=False))
        models: list[Encode] = [self.on(device) for device in devices] if len(devices) > 1 else [self]
        if len(devices) == 1:
            self._move(devices[0])
        parts = []
        with tqdm(total=total, desc="encode", unit="input", disable=not wanted.progress) as bar:
            for part in _spread(models, jobs, prompt, modality, wanted):
                parts.append(part)
                bar.update(len(part))
        return np.concatenate([np.empty((0, self.embed_dim), np.float32), *parts])

    @abstractmethod
    def _move(self, device: str | torch.device) -> None:
        """Compute there from now on."""

    def _window(self, start: int, window: list[Any], prompt: str, modality: str | None, wanted: Wanted) -> np.ndarray:
        """Vectors of one window of inputs, which begins at place `start` of all inputs."""
        given = [told_apart(value, start + place, modality, wanted.urls) for place, value in enumerate(window)]
        out = np.empty((len(given), self.embed_dim), np.float32)
        places = {kind: [i for i, item in enumerate(given) if item.modality == kind] for kind in MODALITIES}
        if places["image"]:
            pictures = [given[i].value for i in places["image"]]
            names = [start + i for i in places["image"]]
            out[places["image"]] = self.embed_pictures(pictures, wanted.batch_size, wanted.urls, names)
        if places["text"]:
            texts = [prompt + given[i].value for i in places["text"]]
            out[places["text"]] = self.embed_sentences(texts, wanted.batch_size)
        if places["audio"]:
            sounds, names = [given[i].value for i in places["audio"]], [start + i for i in places["audio"]]
            out[places["audio"]] = self.embed_sounds(sounds, wanted.batch_size, names)
        return out


def _spread(
    models: Sequence[Encode], jobs: Iterator[tuple[int, list[Any]]], prompt: str, modality: str | None, wanted: Wanted
) -> Iterator[np.ndarray]:
    """Windows through the models, in order; several models work beside each other, two windows ahead each."""
    if len(models) == 1:
        for start, window in jobs:
            yield models[0]._window(start, window, prompt, modality, wanted)
        return

    free = deque(models)

    @own_arithmetic()
    def work(start: int, window: list[Any]) -> np.ndarray:
        model = free.popleft()  # there are as many threads as models
        try:
            return model._window(start, window, prompt, modality, wanted)
        finally:
            free.append(model)

    with ThreadPoolExecutor(len(models)) as threads:
        waiting: deque[Future[np.ndarray]] = deque()
        for job in jobs:
            waiting.append(threads.submit(work, *job))
            if len(waiting) >= 2 * len(models):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
