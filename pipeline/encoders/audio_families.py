"""Audio models of transformers: Whisper's encoder, wav2vec 2.0, HuBERT, AST, and the audio tower of CLAP."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.config import EncoderSpec
from pipeline.encoders.audio_tower import AudioTower, Extractor, Frames, Heard, check_seconds
from pipeline.encoders.hf_weights import load_weights
from pipeline.encoders.kept_layers import KeptLayers
from pipeline.encoders.manifest import Description
from pipeline.encoders.tower import count_layers
from pipeline.encoders.transformers_dual import logit_scale
from pipeline.errors import CheckpointError

_WAVE = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel"}
_CLASSES = {
    "whisper": "WhisperEncoder",
    **_WAVE,
    "audio-spectrogram-transformer": "ASTModel",
    "clap": "ClapModel",
}
_PREFIXES = {r"^model\.encoder\.": "", r"^encoder\.": ""}  # of Whisper's encoder in a folder of the whole model


def describe_family(folder: Path) -> Description:
    """Describe an audio checkpoint of transformers from its configuration.

    Raises:
        CheckpointError: it is of no known family, or has no feature extractor.
    """
    config = _config(folder)
    clap = config.model_type == "clap"
    own = {"features": "audio_features", "logit_scale": logit_scale(folder, config, ("logit_scale_a",))} if clap else {}
    return Description(
        architecture=_CLASSES[config.model_type],
        width=config.projection_dim if clap else config.hidden_size,
        patch_size=None,
        layers=None if clap else _depth(config),
        prefix_tokens=None,
        preprocessing=own | Extractor(folder).describe(),
    )


def load_family(folder: Path, spec: EncoderSpec, seconds: float, device: str) -> AudioTower:
    """Load an audio model of transformers for the layers, the pooling and the dtype of `spec`.

    Raises:
        CheckpointError: the checkpoint lacks weights, layers do not exist, or windows are too long for it.
    """
    config, extractor = _config(folder), Extractor(folder)
    loading = _Loading(folder, spec, seconds, device, config, extractor)
    if config.model_type == "clap":
        return ClapTower(loading)
    if config.model_type == "whisper":
        return WhisperTower(loading)
    return WaveTower(loading) if config.model_type in _WAVE else AstTower(loading)


@dataclass(frozen=True)
class _Loading:
    folder: Path
    spec: EncoderSpec
    seconds: float
    device: str
    config: Any
    extractor: Extractor

    @property
    def samples(self) -> int:
        """Of a whole window."""
        return round(self.seconds * self.extractor.rate)

    def layers(self) -> tuple[int, ...]:
        return count_layers(self.spec.layers, _depth(self.config), self.folder.name)

    def model(self, *unused: str, **options: Any) -> Any:
        wanted, where = _class(self.config.model_type), (self.folder, self.spec, self.device)
        return load_weights(wanted, *where, unused=lambda key: key in unused, **options)


def _class(model_type: str) -> Any:
    import transformers
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    return WhisperEncoder if model_type == "whisper" else getattr(transformers, _CLASSES[model_type])


class _Tower:
    """What towers of transformers share."""

    has_cls, has_frames, has_pooled = False, True, False

    def __init__(self, loading: _Loading, model: Any, blocks: str, norm: str | None) -> None:
        self._extractor, self._device, self._model = loading.extractor, loading.device, model
        self.rate, self.layers = loading.extractor.rate, loading.layers()
        self.width: int = loading.config.hidden_size
        self.backbone: torch.nn.Module | None = model
        self._norm = model.get_submodule(norm) if norm else torch.nn.Identity()
        self._kept = KeptLayers(model, blocks, self.layers)

    def _taken(self) -> list[torch.Tensor]:
        kept = self._kept.take()
        return [self._norm(kept[layer]) for layer in self.layers]

    def _input(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(self._device, self._model.dtype, non_blocking=True)


class WhisperTower(_Tower):
    """Whisper's encoder; its position embeddings are cut to the window, which is padded with silence to its length."""

    least = 1

    def __init__(self, loading: _Loading) -> None:
        """Load the encoder.

        Raises:
            CheckpointError: it lacks weights or layers, or windows are longer than its positions.
        """
        config, extractor = loading.config, loading.extractor.own
        self._stride = extractor.hop_length * 2  # samples of a frame: the second convolution halves the spectrogram
        most = config.max_source_positions
        check_seconds(loading.seconds, most * self._stride / loading.extractor.rate, loading.folder.name)
        self._positions = math.ceil(loading.samples / self._stride)
        model = loading.model(key_mapping=_PREFIXES)
        model.embed_positions.weight = torch.nn.Parameter(
            model.embed_positions.weight[: self._positions].detach().clone(), requires_grad=False
        )
        model.embed_positions.num_embeddings = model.max_source_positions = self._positions
        model.config.max_source_positions = self._positions
        super().__init__(loading, model, "layers", "layer_norm")

    def prepare(self, windows: Sequence[np.ndarray]) -> torch.Tensor:
        """See `AudioTower`: (B, bins, frames of the spectrogram)."""
        spectrum: torch.Tensor = self._extractor(windows, max_length=self._positions * self._stride).input_features
        return spectrum

    def forward(self, prepared: torch.Tensor) -> Heard:
        """See `AudioTower`."""
        self._model(self._input(prepared))
        return Heard([Frames(None, hidden) for hidden in self._taken()], None)

    def frame_count(self, samples: int) -> int:
        """See `AudioTower`."""
        return int(max(1, min(self._positions, math.ceil(samples / self._stride))))


class WaveTower(_Tower):
    """wav2vec 2.0 and HuBERT, which hear samples.

    Models whose convolutions have a group norm were trained without an attention mask: padding changes their features.
    So only windows of one length share a pass of these; others are padded and masked.
    """

    def __init__(self, loading: _Loading) -> None:
        """Load the model; errors as of `load_family`."""
        model = loading.model("masked_spec_embed")
        stable = bool(loading.config.do_stable_layer_norm)
        super().__init__(loading, model, "encoder.layers", "encoder.layer_norm" if stable else None)
        self._masked = loading.config.feat_extract_norm == "layer"
        self._convolutions = list(zip(loading.config.conv_kernel, loading.config.conv_stride, strict=True))
        self.least = 1
        for kernel, stride in reversed(self._convolutions):
            self.least = (self.least - 1) * stride + kernel

    def prepare(self, windows: Sequence[np.ndarray]) -> list[tuple[list[int], Any]]:
        """See `AudioTower`: windows that share a pass, by their places."""
        lengths = [len(window) for window in windows]
        if self._masked and len(set(lengths)) > 1:
            groups = [list(range(len(windows)))]
        else:
            groups = [[i for i, own in enumerate(lengths) if own == length] for length in dict.fromkeys(lengths)]
        return [(places, self._batch([windows[place] for place in places])) for places in groups]

    def _batch(self, windows: Sequence[np.ndarray]) -> Any:
        if len({len(window) for window in windows}) == 1:
            return self._extractor(windows, padding=False, return_attention_mask=False)
        return self._extractor(windows, padding=True, return_attention_mask=True)

    def forward(self, prepared: list[tuple[list[int], Any]]) -> Heard:
        """See `AudioTower`."""
        parts, order = [], []
        for places, batch in prepared:
            mask = batch.get("attention_mask")
            self._model(
                self._input(batch["input_values"]), attention_mask=None if mask is None else mask.to(self._device)
            )
            parts.append(self._taken())
            order += places
        back = torch.tensor(np.argsort(order), device=parts[0][0].device)
        layers = (_joined([part[number] for part in parts])[back] for number in range(len(self.layers)))
        return Heard([Frames(None, hidden) for hidden in layers], None)

    def frame_count(self, samples: int) -> int:
        """See `AudioTower`."""
        for kernel, stride in self._convolutions:
            samples = (samples - kernel) // stride + 1
        return samples


class AstTower(_Tower):
    """The Audio Spectrogram Transformer: patches of a spectrogram that is padded to a fixed length.

    A frame is the mean over the frequencies of a step in time.
    """

    has_cls, has_pooled, least = True, True, 400

    def __init__(self, loading: _Loading) -> None:
        """Load the model; errors as of `load_family`."""
        config, own = loading.config, loading.extractor.own
        if own.max_length != config.max_length:
            raise CheckpointError(
                f"{loading.folder.name}: its feature extractor makes {own.max_length} steps, and the model takes "
                f"{config.max_length}"
            )
        self._bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        self._steps = (config.max_length - config.patch_size) // config.time_stride + 1
        self._patch, self._time_stride = config.patch_size, config.time_stride
        self._hop, self._frame = loading.extractor.rate // 100, loading.extractor.rate // 40
        most = (self._hop * (config.max_length - 1) + self._frame) / loading.extractor.rate
        check_seconds(loading.seconds, most, loading.folder.name)
        if loading.spec.pooling == "model" and loading.spec.layers != (-1,):
            raise CheckpointError(
                f"{loading.folder.name}: pooling model is of the last layer only, found layers "
                f"{list(loading.spec.layers)}; set `layers: [-1]`, or pooling cls or mean"
            )
        super().__init__(loading, loading.model(), "layers", "layernorm")

    def prepare(self, windows: Sequence[np.ndarray]) -> torch.Tensor:
        """See `AudioTower`: (B, steps, bins)."""
        spectrum: torch.Tensor = self._extractor(windows)["input_values"]
        return spectrum

    def forward(self, prepared: torch.Tensor) -> Heard:
        """See `AudioTower`."""
        output = self._model(self._input(prepared))
        return Heard([self._split(hidden) for hidden in self._taken()], output.pooler_output)

    def _split(self, hidden: torch.Tensor) -> Frames:
        patches = hidden[:, 2:].reshape(len(hidden), self._bands, self._steps, -1)  # behind CLS and distillation token
        return Frames(hidden[:, 0], patches.float().mean(dim=1))

    def frame_count(self, samples: int) -> int:
        """See `AudioTower`."""
        steps = (samples - self._frame) // self._hop + 1
        return int(max(1, min(self._steps, (steps - self._patch) // self._time_stride + 1)))


class ClapTower:
    """The audio tower of CLAP: its projected `audio_features`, one unit vector per window.

    Each window is prepared by a call of its own: in a call for several, the extractor marks one of them at random.
    """

    has_cls, has_frames, has_pooled, least = False, False, True, 1

    def __init__(self, loading: _Loading) -> None:
        """Load the model; errors as of `load_family`."""
        if loading.spec.layers != (-1,):
            raise CheckpointError(
                f"{loading.folder.name}: a dual encoder has its last output only, found layers "
                f"{list(loading.spec.layers)}"
            )
        self._extractor, self._device = loading.extractor, loading.device
        self.rate = loading.extractor.rate
        self.layers: tuple[int, ...] = (1,)
        check_seconds(loading.seconds, loading.extractor.own.nb_max_samples / self.rate, loading.folder.name)
        self._model = loading.model()
        for tower in ("text_model", "text_projection"):
            delattr(self._model, tower)
        self.backbone: torch.nn.Module | None = self._model
        self.width: int = loading.config.projection_dim

    def prepare(self, windows: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """See `AudioTower`: spectrograms, and what the extractor says of their length."""
        each = [self._extractor([window]) for window in windows]
        return torch.cat([one["input_features"] for one in each]), torch.cat([one["is_longer"] for one in each])

    def forward(self, prepared: tuple[torch.Tensor, torch.Tensor]) -> Heard:
        """See `AudioTower`."""
        spectrum, longer = prepared
        spectrum = spectrum.to(self._device, self._model.dtype)
        output = self._model.get_audio_features(input_features=spectrum, is_longer=longer.to(self._device))
        features = output if isinstance(output, torch.Tensor) else output.pooler_output
        return Heard([Frames(None, None)], features)

    def frame_count(self, samples: int) -> int:  # noqa: ARG002
        """See `AudioTower`."""
        return 0


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Frames of several passes as one tensor, shorter ones padded with zeros at their ends."""
    longest = max(part.shape[1] for part in parts)
    padded = [torch.nn.functional.pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts]
    return torch.cat(padded)


def _depth(config: Any) -> int:
    return int(config.encoder_layers if config.model_type == "whisper" else config.num_hidden_layers)


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: expected a config.json that transformers knows: {error}") from error
    if config.model_type not in _CLASSES:
        raise CheckpointError(
            f"{folder}: audio models of type {config.model_type!r} are not supported; these are: "
            f"{', '.join(sorted(_CLASSES))}"
        )
    return config
