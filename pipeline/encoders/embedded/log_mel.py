"""The baseline for sounds: Whisper's log-mel spectrogram, of which `pipeline.encoders.log_mel` takes statistics."""

from pathlib import Path

from pipeline.encoders.embedded.whisper import PREPROCESSOR
from pipeline.files import write_json

REVISION = "1"


def convert(folder: Path) -> str:
    """Write the settings of the feature extractor, which is all that there is; returns `REVISION`."""
    write_json(PREPROCESSOR, folder / "preprocessor_config.json", sort_keys=True)
    return REVISION
