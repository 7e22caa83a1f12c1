"""Pictures prepared in processes of their own: the same as in threads, and what happens when a process ends."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from pipeline.config import EncodeParams, EncoderSpec, FolderSource, ImageView
from pipeline.datasets.index import build_index
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import load_image_encoder
from pipeline.encoding.load import image_rows
from pipeline.encoding.preparing import IndexedImages, Preparation, PreparationProcesses
from pipeline.encoding.protocol import Batch
from pipeline.errors import DataError
from tests.dag import tiny

VIEW = ImageView(encoder="eye", resolution=28, tier="cls", crops=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space in its name, six pictures, their index and a tiny checkpoint."""
    folder: Path = tmp_path_factory.mktemp("some folder")
    (folder / "raw").mkdir()
    generator = np.random.default_rng(0)
    for number in range(6):
        pixels = generator.integers(0, 255, (40 + number, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "raw" / f"{number}.png")
    lines = ["file,caption", *(f"{number}.png,picture {number}" for number in range(6))]
    (folder / "raw" / "captions.csv").write_text("\n".join(lines), encoding="utf-8")
    build_index(FolderSource(source="folder", path=str(folder / "raw")), folder / "index", folder / "work")
    tiny.write_image_checkpoint(folder / "eye", 0)
    materialise(eye(folder), folder / "made")
    return folder


def eye(root: Path) -> EncoderSpec:
    return EncoderSpec(modality="image", source="local", model=str(root / "eye"), loader="transformers")


@pytest.fixture(scope="module")
def processes(root: Path) -> tuple[Preparation, PreparationProcesses]:
    encoder = load_image_encoder(root / "made", eye(root), VIEW, "cpu")
    here = Preparation(IndexedImages(root / "index"), encoder.preprocess, VIEW)
    return here, PreparationProcesses(here, 1)


def test_processes_prepare_what_threads_prepare(
    root: Path, processes: tuple[Preparation, PreparationProcesses]
) -> None:
    here, there = processes
    ids = IndexedImages(root / "index").ids
    (root / "raw" / "0.png").write_bytes(b"changed since")
    found, expected = there(ids), here(ids)
    assert torch.equal(found.pixels, expected.pixels)
    assert found.pixels.shape == (5, 3, 3, 28, 28)
    assert found.reasons == expected.reasons
    (reason,) = filter(None, expected.reasons)
    assert "0.png" in reason
    (unreadable,) = (identifier for identifier, why in zip(ids, expected.reasons, strict=True) if why is not None)
    alone = there([unreadable])
    assert alone.reasons == [reason]
    assert not len(alone.pixels)


def test_a_process_opens_no_index(root: Path, tmp_path: Path) -> None:
    """It gets the rows of each batch: the ids of a large index in every process would be much memory."""
    shutil.copytree(root / "index", tmp_path / "index")
    shutil.copytree(root / "raw", tmp_path / "raw")
    images = IndexedImages(tmp_path / "index")
    encoder = load_image_encoder(root / "made", eye(root), VIEW, "cpu")
    here = Preparation(images, encoder.preprocess, VIEW)
    there = PreparationProcesses(here, 1)
    (tmp_path / "index" / "images.parquet").unlink()
    for ids in (images.ids[1:4], images.ids[:0:-1]):
        assert torch.equal(there(ids).pixels, here(ids).pixels)
    brought = images.without_index()
    brought.bring(images.ids[1:3], images.rows(images.ids[1:3]))
    brought.bring(images.ids[3:5], images.rows(images.ids[3:5]))
    assert list(brought._rows) == images.ids[3:5]  # nothing is gathered


def test_a_preparation_is_small_and_a_process_that_ends_is_explained(
    processes: tuple[Preparation, PreparationProcesses],
) -> None:
    here, there = processes
    assert len(pickle.dumps(here)) < 100_000  # neither the backbone nor the table of the index
    there([])
    (process,) = there._pool._processes.values()
    os.kill(process.pid, signal.SIGKILL)  # as the kernel does when memory is short
    with pytest.raises(DataError, match=r"decodes images has ended.*encode\.decode: threads"):
        for _ in range(100):
            there([])
            time.sleep(0.1)


def features(batches: Iterator[Batch]) -> dict[str, np.ndarray]:
    parts = list(batches)
    return {name: np.concatenate([batch.arrays[name] for batch in parts]) for name in parts[0].arrays}


def test_rows_do_not_depend_on_where_they_are_prepared(root: Path) -> None:
    ids = IndexedImages(root / "index").ids
    found = []
    for decode in ("threads", "processes"):
        params = EncodeParams(batch_size=2, workers=1, device="cpu", decode=decode)  # type: ignore[arg-type]
        rows = image_rows(root / "made", eye(root), VIEW, root / "index", params)
        found.append(features(rows.encode(ids)))
    assert found[0].keys() == found[1].keys()
    for name, values in found[0].items():
        np.testing.assert_array_equal(found[1][name], values)


def test_processes_end_with_the_one_that_started_them(root: Path) -> None:
    """Also when it is killed and can tell nobody."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from pipeline.encoding.preparing import IndexedImages, Preparation, PreparationProcesses\n"
        "from pipeline.config import ImageView\n"
        "if __name__ == '__main__':\n"
        "    images = IndexedImages(Path(sys.argv[1]))\n"
        "    there = PreparationProcesses(Preparation(images, str, ImageView(encoder='x', resolution=28)), 1)\n"
        "    there([])\n"
        "    print([process.pid for process in there._pool._processes.values()][0], flush=True)\n"
        "    time.sleep(600)\n"
    )
    (root / "script.py").write_text(script, encoding="utf-8")
    command = [sys.executable, str(root / "script.py"), str(root / "index")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as started:
        assert started.stdout is not None
        process = psutil.Process(int(started.stdout.readline()))
        started.kill()
        assert process.wait(timeout=60) is not None or not process.is_running()
