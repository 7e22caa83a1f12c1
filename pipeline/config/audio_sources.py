"""Sources of sounds, and of other modalities beside pictures, under `datasets`."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.config.further import FURTHER
from pipeline.config.raw_sources import FileFolder, RawSource

if TYPE_CHECKING:
    Further = str
else:
    Further = Literal[tuple(FURTHER)]


class AudioFolderSource(FileFolder):
    """Sounds in folders and subfolders; keys as of `image-folder`."""

    source: Literal["audio-folder"]


class MediaFolderSource(FileFolder):
    """Samples of a further modality in folders and subfolders; keys as of `image-folder`."""

    source: Literal["media-folder"]
    modality: Further


class ClothoSource(RawSource):
    """Clotho: sounds of 15 to 30 s with five captions each; `path` has its folders and its files of captions."""

    source: Literal["clotho"]
    path: str


class AudioCapsSource(RawSource):
    """AudioCaps: its lists train.csv, val.csv and test.csv, and a folder of sounds named by their YouTube id."""

    source: Literal["audiocaps"]
    annotations: str | tuple[str, ...]
    sounds: str


class Esc50Source(RawSource):
    """ESC-50: 2,000 sounds of 5 s in 50 classes; `path` is a copy of its repository.

    With `test_fold` that one of its five folds is its test split, and the others are to train on.
    """

    source: Literal["esc50"]
    path: str
    test_fold: Annotated[int, Field(ge=1, le=5)] | None = None


class SpeechCommandsSource(RawSource):
    """Speech Commands: a folder for each word, and the lists of its validation and test splits."""

    source: Literal["speech-commands"]
    path: str
