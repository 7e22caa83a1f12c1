"""The stage `encode` on sounds: here, in parts and in a cluster the same bytes; bad sounds are rows with a reason."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import EncodeSettings
from pipeline.config.load import load_config
from pipeline.datasets.index import build_index
from pipeline.encoders.checkpoint import materialise
from pipeline.features import FeatureStore
from pipeline.features.reader import read_rows
from pipeline.features.verify import verify
from pipeline.paths import WORK_VARIABLE, checkpoint_folder, index_folder, store_folder
from stages.encode import encode
from tests.dag import tiny
from tests.dag.test_audio import write_ear
from tests.datasets.sounds import encoded, noise, write
from tests.encoding.clone import files, write_params

COUNT = 20
STORE = store_folder("pairs", "ear", "mine")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty sounds of several lengths, of which one is 30 windows long, and a small encoder."""
    folder = tmp_path_factory.mktemp("sounds")
    lines = ["audio,caption"]
    for number in range(COUNT):
        seconds = 6.0 if number == 7 else 0.1 + 0.03 * number
        write(folder / "clips" / f"{number}.wav", noise(number, seconds))
        lines.append(f"{number}.wav,sound {number}")
    (folder / "clips" / "captions.csv").write_text("\n".join(lines) + "\n")
    write_ear(folder / "outside", 0)
    ear = {"modality": "audio", "source": "local", "model": str(folder / "outside"), "loader": "transformers"}
    write_params(
        folder,
        {
            "encoders": {"ear": ear | {"pooling": "mean"}},
            "views": {"ear": {"encoder": "ear", "seconds": 0.2, "windows": 3, "tier": "full"}},
            "datasets": {"mine": {"source": "folder", "path": str(folder / "clips")}},
            "stores": {"pairs": {"mine-ear": {"dataset": "mine", "view": "ear", "encoder": "ear"}}},
            "encode": {"batch_size": 4, "workers": 1, "device": "cpu", "shard_rows": 4},
            "hydra": tiny.HYDRA,
        },
    )
    params = load_config(folder / "params.yaml").params
    materialise(params.encoders["ear"], folder / checkpoint_folder("ear"))
    build_index(params.datasets["mine"], folder / index_folder("pairs", "mine"), folder / "downloads")
    return folder


@pytest.fixture(autouse=True)
def there(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))


def settings(**changed: Any) -> EncodeSettings:
    found = load_config().settings("encode", "mine-ear")
    assert isinstance(found, EncodeSettings)
    return found.model_copy(update={"encode": found.encode.model_copy(update=changed)})


def made(monkeypatch: pytest.MonkeyPatch, work: Path, *parts: str, **changed: Any) -> dict[str, bytes]:
    """The files of the store, encoded anew."""
    monkeypatch.setenv(WORK_VARIABLE, str(work))
    for part in parts or (None,):
        encode(settings(**changed), part=part)
    return files(STORE)


def test_parts_and_workers_end_in_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made(monkeypatch, tmp_path / "one")
    assert made(monkeypatch, tmp_path / "two", "2/3", "1/3", "3/3") == whole
    assert made(monkeypatch, tmp_path / "three", workers=2) == whole
    result = verify(STORE)
    assert result.intact
    store = FeatureStore.open(STORE)
    assert len(store.ids) == COUNT
    lengths = store.ragged("tokens").lengths
    window = (3200 - 60) // 80 + 1  # frames of a whole window of 0.2 s
    assert lengths[7] == lengths.max() == 3 * window, "what lies behind the third window is not read"


@pytest.mark.long
def test_a_cluster_ends_in_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is an extra: pip install -e '.[ray]'")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    )
    whole = made(monkeypatch, tmp_path / "one")
    assert made(monkeypatch, tmp_path / "ray", engine="ray") == whole


def test_the_batch_moves_no_feature_beyond_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, tmp_path / "one")
    first = FeatureStore.open(STORE)
    expected = np.array(first.read("mean", first.ids), np.float32)
    made(monkeypatch, tmp_path / "two", batch_size=1)
    second = FeatureStore.open(STORE)
    np.testing.assert_allclose(np.array(second.read("mean", second.ids), np.float32), expected, atol=2e-3)


def test_what_changed_since_it_was_indexed_has_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("clips/3.wav")
    before = path.read_bytes()
    try:
        path.write_bytes(encoded(noise(99, 0.4)))
        made(monkeypatch, tmp_path / "work", max_failure_rate=0.2)
    finally:
        path.write_bytes(before)
    ids, valid, reasons = read_rows(STORE / "rows.parquet")
    assert len(ids) == COUNT
    assert (~valid).sum() == 1
    assert ["has changed since it was indexed" in reason for reason in reasons.values()] == [True]


def test_without_sounds_the_store_says_what_is_missing(project: Path, tmp_path: Path) -> None:
    from pipeline.encoding.modalities import plan_and_loader
    from pipeline.errors import DataError

    (tmp_path / "index").mkdir()
    with pytest.raises(DataError, match="has no sounds"):
        plan_and_loader(settings(), project / checkpoint_folder("ear"), tmp_path / "index")
