"""The configuration files of a checkpoint, looked at before a library builds a model of them.

A library allocates what a configuration asks for, and only then compares it with the weights; a width of 10^9 ends the
process, or the machine. Here every size has bounds far above those of published models, and what a transformer would
have at least is compared with the bytes of its weights.
"""

import json
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from pipeline.errors import CheckpointError, PermafrostError
from pipeline.explanations import full_disk, short_memory

Arguments = ParamSpec("Arguments")
Encoder = TypeVar("Encoder")
MOST_BYTES = 16 * 2**20
MOST_LEVELS = 64
_TABLES = ("tokenizer.json", "vocab.json", "vocabulary.json", "merges.json")  # read by tokenizers alone, and large
_OBJECTS = (
    *("config.json", "open_clip_config.json", "preprocessor_config.json", "processor_config.json"),
    *("tokenizer_config.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
)
_FETCH = "The file is damaged, or made to do harm: fetch the checkpoint again, or choose another one."
_WIDTHS = dict.fromkeys(
    (
        "hidden_size",
        "embed_dim",
        "d_model",
        "projection_dim",
        "width",
        "hidden_sizes",
        "embedding_size",
        "num_features",
    ),
    65_536,
)
_SIZES = _WIDTHS | {
    **dict.fromkeys(("intermediate_size", "d_ff", "ffn_dim", "hidden_dim"), 1_048_576),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "layers", "depths", "depth"), 1_000),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "num_heads", "heads", "head_width"), 65_536),
    **dict.fromkeys(("image_size", "input_size", "patch_size", "crop_size"), 65_536),
    **dict.fromkeys(("num_channels", "in_chans"), 1_024),
    **dict.fromkeys(("max_position_embeddings", "context_length", "max_seq_length", "n_positions"), 100_000_000),
    "vocab_size": 16_000_000,
    **dict.fromkeys(("type_vocab_size", "num_register_tokens", "num_labels", "num_classes"), 10_000_000),
}


@contextmanager
def sound_config(folder: Path) -> Iterator[None]:
    """Around whatever builds a model of a folder: its configuration is checked first, and blamed for what a library
    trips over then.

    Raises:
        CheckpointError: as `check_config_files`, or a library cannot make sense of a value.
    """
    check_config_files(folder)
    try:
        yield
    except Exception as error:  # libraries have errors of their own
        if isinstance(error, PermafrostError | OSError) or short_memory(error) or full_disk(error):
            raise
        raise CheckpointError(
            f"{folder}: its configuration asks for what its library cannot build ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}). {_FETCH}"
        ) from error


def with_sound_config(
    load: Callable[Concatenate[Path, Arguments], Encoder],
) -> Callable[Concatenate[Path, Arguments], Encoder]:
    """A function of a checkpoint folder and more, inside of `sound_config`."""

    @wraps(load)
    def checked(folder: Path, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Encoder:
        with sound_config(folder):
            return load(folder, *args, **kwargs)

    return checked


def check_config_files(folder: Path) -> None:
    """Check every configuration file of a checkpoint folder.

    Raises:
        CheckpointError: one is no plain file, too large, no JSON, nested too deeply, not an object, or holds a size of
            another type or beyond its bounds; or its model would be many times as large as the weights.
    """
    weights = sum(path.stat().st_size for path in folder.rglob("*.safetensors") if path.is_file())
    for path in sorted(folder.rglob("*.json")):
        if path.name in _TABLES or path.name.endswith(".index.json"):
            continue
        content = _read(path)
        for key, value, most in _sizes(content, ""):
            if problem := _problem(value, most):
                raise CheckpointError(
                    f"{path}: `{key}` is {value!r:.100}; expected {problem}, as of every published model. {_FETCH}"
                )
        least = sum(_parameters(part) for part in _objects(content))
        if weights and least > 8 * weights + 1e7:
            raise CheckpointError(
                f"{path} describes a model of more than {least / 1e6:,.0f} million parameters, and its weights "
                f"have {weights / 1e6:,.1f} MB. {_FETCH}"
            )


def _read(path: Path) -> Any:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise CheckpointError(f"{path} should be a plain file; it is a folder, a pipe or a device. Remove it.")
        if about.st_size > MOST_BYTES:
            raise CheckpointError(
                f"{path} has {about.st_size / 1e6:,.1f} MB, and {MOST_BYTES / 1e6:.1f} MB are the most. {_FETCH}"
            )
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise CheckpointError(f"{path} is nested more than {MOST_LEVELS} levels deep. {_FETCH}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read as JSON ({type(error).__name__}: {error!s:.200}). {_FETCH}"
        ) from error
    if _levels(content) > MOST_LEVELS:
        raise CheckpointError(f"{path} is nested more than {MOST_LEVELS} levels deep. {_FETCH}")
    if path.name in _OBJECTS and not isinstance(content, dict):
        raise CheckpointError(f"{path} should hold an object of JSON, found {content!r:.60}. {_FETCH}")
    return content


def _levels(content: Any) -> int:
    """How deeply lists and objects are nested; it stops counting beyond what is allowed."""
    level, inside = 0, [content]
    while inside and level <= MOST_LEVELS:
        inside = [
            inner
            for outer in inside
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        level += 1
    return level


def _objects(content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, dict):
        yield content
    for inner in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from _objects(inner)


def _sizes(content: Any, where: str) -> Iterator[tuple[str, Any, int]]:
    """Each size with its key, dotted, and the most that it may be."""
    if isinstance(content, dict):
        for key, value in content.items():
            inside = f"{where}.{key}" if where else key
            if key in _SIZES and not isinstance(value, dict):
                yield inside, value, _SIZES[key]
            else:
                yield from _sizes(value, inside)
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from _sizes(value, f"{where}.{number}")


def _problem(value: Any, most: int) -> str | None:
    """What a size should be; None if it is that: a whole number, several of them, or nothing."""
    values = value if isinstance(value, list) else [value]
    whole = all(
        one is None or (isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= most) for one in values
    )
    return None if whole else f"a whole number from 0 to {most:,}"


def _parameters(tower: dict[str, Any]) -> int:
    """Fewer than a transformer of this configuration has; 0 where it is none."""
    width, layers = (
        next((tower[key] for key in keys if isinstance(tower.get(key), int)), 0)
        for keys in (("hidden_size", "width", "d_model"), ("num_hidden_layers", "layers", "num_layers"))
    )
    vocabulary = tower.get("vocab_size")
    return width * width * layers + width * (vocabulary if isinstance(vocabulary, int) else 0)
