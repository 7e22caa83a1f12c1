"""Where an aligner computes, and in which type."""

import copy
from typing import Any, Self

import torch

from pipeline.alignment import ProjectionHeads
from pipeline.device import choose_device
from pipeline.errors import DataError
from pipeline.inference.encoders import FrozenEncoders
from pipeline.inference.export import Export
from pipeline.inference.kept import Kept

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Placement(Export):
    """`to` and its kin. Encoders move by being loaded again when they are next needed."""

    _heads: ProjectionHeads
    _encoders: FrozenEncoders
    _kept_classes: Kept[Any]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._heads.device

    @property
    def dtype(self) -> torch.dtype:
        """What the image encoder computes in; heads are always in float32."""
        return _DTYPES[self._encoders.dtype]

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied by before a softmax: learned, computed, or the dual encoder's own."""
        return self._heads.logit_scale

    @property
    def logit_bias(self) -> float | None:
        """What a sigmoid loss adds to the scaled cosines; None for heads of another loss."""
        bias = self._heads.head.bias()
        return None if bias is None else bias.item()

    @property
    def max_seq_length(self) -> int:
        """Where a text is cut, in tokens; loads the text encoder."""
        return self._encoders.max_tokens

    def get_max_seq_length(self) -> int:
        """As `max_seq_length`."""
        return self.max_seq_length

    def to(self, *args: Any, **options: Any) -> Self:
        """Compute on another device, or in another type, from now on: `to("cuda")`, `to(torch.float16)`.

        Returns:
            the aligner itself.

        Raises:
            ConfigError: this machine lacks the device.
            DataError: something that is neither a device nor one of float32, bfloat16 and float16.
        """
        device, dtype = placed(args, dict(options))
        chosen = None if device is None else choose_device(device)
        kind = None if dtype is None else dtype_name(dtype)
        if chosen is not None and torch.device(chosen) != self.device:
            self._heads = self._heads.on(chosen)
        elif kind in (None, self._encoders.dtype):
            return self
        self._encoders = self._encoders.placed(chosen, kind)
        self._kept_classes.clear()
        return self

    def cpu(self) -> Self:
        """`to("cpu")`."""
        return self.to("cpu")

    def cuda(self, device: int | str | torch.device | None = None) -> Self:
        """`to("cuda")`, or to one of several such devices."""
        return self.to("cuda" if device is None else device)

    def half(self) -> Self:
        """Encoders in float16: faster on a GPU; vectors differ in the third digit from those of a store."""
        return self.to(torch.float16)

    def bfloat16(self) -> Self:
        """Encoders in bfloat16."""
        return self.to(torch.bfloat16)

    def float(self) -> Self:
        """Encoders in float32."""
        return self.to(torch.float32)

    def on(self, device: str | torch.device) -> Self:
        """See `Encode`."""
        other = copy.copy(self)
        chosen = choose_device(device)
        other._heads, other._encoders = self._heads.on(chosen), self._encoders.placed(chosen, None)
        return other

    def _move(self, device: str | torch.device) -> None:
        self.to(device)


def dtype_name(dtype: Any) -> str:
    """The name of a type that encoders can compute in.

    Raises:
        DataError: another one.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise DataError(f"Encoders compute in {', '.join(_DTYPES)}; found {dtype!r}.")
    return name


def mapped_device(device: str, device_map: str | dict[str, str] | None) -> str:
    """The one device of a `device_map`, or `device` where there is none.

    Raises:
        DataError: both are given, or the map has more than one device.
    """
    if device_map is None:
        return device
    places = set(device_map.values()) if isinstance(device_map, dict) else {device_map}
    if device != "auto" or len(places) != 1:
        raise DataError(
            f"Expected device, or a device_map of one device such as {{'': 'cuda:0'}}, found device={device!r}, "
            f"device_map={device_map!r}. Encoders fit on one device; to use several, pass device=[...] to encode()."
        )
    return str(places.pop())


def placed(args: tuple[Any, ...], options: dict[str, Any]) -> tuple[str | torch.device | None, torch.dtype | None]:
    """Device and dtype out of the arguments of `to`, as of `torch.nn.Module.to`.

    Raises:
        DataError: something else than these two.
    """
    device, dtype = options.pop("device", None), options.pop("dtype", None)
    options.pop("non_blocking", None)
    for value in args:
        if isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, int) and not isinstance(value, bool):
            device = f"cuda:{value}"
        elif isinstance(value, str | torch.device):
            device = value
        elif value is not None:
            raise DataError(f"Expected a device or a dtype, found {type(value).__name__}.")
    if options:
        raise DataError(f"Expected a device or a dtype, found the arguments {', '.join(options)}.")
    return device, dtype
