"""A project in which one store of pictures can be encoded, and nothing else."""

from pathlib import Path
from typing import Any

import yaml

from pipeline.config import EncodeSettings, IndexSettings
from pipeline.config.load import load_config
from pipeline.datasets.index import build_index
from pipeline.encoders.checkpoint import materialise
from pipeline.paths import checkpoint_folder, index_folder, store_folder
from tests.dag import tiny

ROOT = Path(__file__).resolve().parents[2]
ITEM = "mine-eye"
STORE = store_folder("pairs", "eye", "mine")


def make_clone(folder: Path, **encode: Any) -> None:
    """Everything that `encode@mine-eye` needs, in `folder`: 90 pictures, and a small encoder."""
    tiny.write_image_checkpoint(folder / "outside" / "eye-a", 0)
    tiny.write_pictures(folder / "outside" / "pictures")
    params = tiny.tiny_params(folder / "outside", tiny.PICTURES)
    kept = {key: params[key] for key in ("seed", "datasets", "hydra")}
    kept |= {"encoders": {"eye": params["encoders"]["eye"]}, "views": {"eye": params["views"]["eye"]}}
    kept |= {"stores": {"pairs": {ITEM: params["stores"]["pairs"][ITEM]}}}
    write_params(folder, kept | {"encode": {"batch_size": 4, "workers": 1, "device": "cpu", **encode}})
    config = load_config(folder / "params.yaml")
    materialise(config.params.encoders["eye"], folder / checkpoint_folder("eye"))
    index = config.settings("index", "mine")
    assert isinstance(index, IndexSettings)
    build_index(index.dataset, folder / index_folder("pairs", "mine"), folder / "downloads", folder / "work")


def write_params(folder: Path, params: dict[str, Any]) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def settings(folder: Path, **encode: Any) -> EncodeSettings:
    """What the stage reads, with some of `encode` changed."""
    found = load_config(folder / "params.yaml").settings("encode", ITEM)
    assert isinstance(found, EncodeSettings)
    return found.model_copy(update={"encode": found.encode.model_copy(update=encode)})


def files(store: Path) -> dict[str, bytes]:
    """All files of a store."""
    return {p.relative_to(store).as_posix(): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}
