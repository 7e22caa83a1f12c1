"""Sounds as a further modality: their files and the columns of their table."""

from typing import Final

import pyarrow as pa

from pipeline.datasets.audio.decode import SoundInfo, check_sound
from pipeline.datasets.tar_samples import SOUNDS

ENDINGS: Final = SOUNDS
COLUMNS: Final = (
    ("sample_rate", pa.int32()),  # Hz
    ("channels", pa.int32()),
    ("frames", pa.int64()),  # samples of each channel
    ("seconds", pa.float64()),
)
check = check_sound
told = SoundInfo.of
