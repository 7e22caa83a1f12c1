"""What a streamed epoch takes of anonymous memory, which unlike the page cache cannot be given back."""

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from pipeline.features import FeatureStore
from pipeline.features.shuffle import BlockShuffle
from pipeline.features.stream import Side, stream, window_blocks
from tests.features.anonymous import watched
from tests.features.stores import normal, write_store

ALLOWED = 8_000_000  # bytes that the windows may take
SIZES = (ALLOWED, 2 * ALLOWED, 4 * ALLOWED)
WIDTH = 1024
BLOCK = 16


def peak(folder: Path, resident: bool) -> int:
    """By how many bytes an epoch raises the anonymous memory of this process at most."""
    array = FeatureStore.open(folder).array("cls")
    side = Side(np.arange(len(array)), (array,))
    shuffle = BlockShuffle(len(array), BLOCK, window_blocks([side], BLOCK, ALLOWED))
    with watched() as risen:
        held = array.take(side.rows) if resident else None
        for batch in stream([side], shuffle, 64, seed=0, epoch=0):
            assert len(batch.pairs)
    del held
    return max(risen)


def fresh(folder: Path, resident: bool = False) -> int:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(peak, folder, resident).result()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_anonymous_memory_does_not_grow_with_the_store(tmp_path: Path) -> None:
    folders = [
        write_store(tmp_path / str(size), {"cls": normal(size // (2 * WIDTH), WIDTH)}, shard_rows=1024)
        for size in SIZES
    ]
    peaks = [fresh(folder) for folder in folders]
    assert max(peaks) < 1.3 * ALLOWED
    assert max(peaks) - min(peaks) < 0.25 * ALLOWED
    assert peaks[0] > 0.8 * ALLOWED  # the windows are seen, or the measure would be blind
    assert fresh(folders[-1], resident=True) > SIZES[-1]
