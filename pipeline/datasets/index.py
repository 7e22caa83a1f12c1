"""Builds the index of a data set from the source that params.yaml names."""

from pathlib import Path
from typing import Any

from pipeline.config import (
    CaptionFileSource,
    ClipBenchmarkSource,
    DatasetSpec,
    EmojiSource,
    FolderSource,
    HubSource,
    ImageFolderSource,
    LongCaptionSource,
    RawSource,
    SegmentationSource,
    StampsSource,
    TableSource,
    TextTasksSource,
    WebdatasetSource,
    Xtd10Source,
)
from pipeline.config.audio_sources import (
    AudioCapsSource,
    AudioFolderSource,
    ClothoSource,
    Esc50Source,
    MediaFolderSource,
    SpeechCommandsSource,
)
from pipeline.datasets.audio.layouts import audiocaps, clotho, esc50, speech_commands
from pipeline.datasets.bits import BITS
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.caption_files import caption_files
from pipeline.datasets.clip_benchmark import clip_benchmark
from pipeline.datasets.descriptions import read_descriptions
from pipeline.datasets.emoji import index_emoji
from pipeline.datasets.feed import feed
from pipeline.datasets.hub import hub
from pipeline.datasets.image_folder import image_folder
from pipeline.datasets.known import KnownImages
from pipeline.datasets.long_captions import long_captions
from pipeline.datasets.raw_files import located
from pipeline.datasets.samples import Source
from pipeline.datasets.segmentation import index_segmentation
from pipeline.datasets.stamps import index_stamps
from pipeline.datasets.table import folder_with_table, table
from pipeline.datasets.text_tasks import index_text_tasks
from pipeline.datasets.webdataset import webdataset
from pipeline.datasets.xtd10 import xtd10


def build_index(
    spec: DatasetSpec, folder: Path, downloads: Path, known: Path | None = None, bits: int | None = None
) -> dict[str, Any]:
    """Index one data set into `folder`: images, texts, pairs, labels, failures, about.json, and images.tar if needed.

    The same source gives the same bytes on every run.

    Args:
        spec: the entry of params.yaml.
        folder: where the index goes; files of an earlier index are replaced.
        downloads: where package payloads are kept between runs.
        known: the folder with the results of earlier checks of raw files; None reads all files.
        bits: how many bits of deep pictures are used, see `ImageView`; None for all that a sample has.

    Returns:
        The content of about.json: source, packages with versions and licences, counts, languages, available, reason;
        of raw data also `tally`, what was used, failed and left out.

    Raises:
        ConfigError: the entry names a language, group or category that the source does not have.
        SourceError: the source is missing or invalid, or too much of it cannot be used.
    """
    with IndexBuilder(folder) as builder, KnownImages(known, getattr(spec, "check", "decode"), bits) as memory:
        if isinstance(spec, EmojiSource):
            about = index_emoji(spec, builder, downloads)
        elif isinstance(spec, StampsSource):
            about = index_stamps(spec, builder, downloads)
        elif isinstance(spec, TextTasksSource):
            about = index_text_tasks(spec, builder, folder, downloads)
        elif isinstance(spec, SegmentationSource):
            about = index_segmentation(spec, builder, folder, bits)
        else:
            source = _source(spec)
            tally = feed(source, builder, spec, memory, bits)
            about = {**source.about, "tally": tally.as_dict()}
            if spec.descriptions is not None:
                about = {**about, "descriptions": read_descriptions(located(spec.descriptions))}
        about |= {} if bits is None else {BITS: bits}
        return builder.finish({"source": spec.source, "transfer": getattr(spec, "transfer", False), **about})


def _source(spec: RawSource) -> Source:
    match spec:
        case FolderSource():
            return folder_with_table(spec)
        case ImageFolderSource() | AudioFolderSource() | MediaFolderSource():
            return image_folder(spec)
        case TableSource():
            return table(spec)
        case HubSource():
            return hub(spec)
        case WebdatasetSource():
            return webdataset(spec)
        case ClipBenchmarkSource():
            return clip_benchmark(spec)
        case CaptionFileSource():
            return caption_files(spec)
        case Xtd10Source():
            return xtd10(spec)
        case LongCaptionSource():
            return long_captions(spec)
        case ClothoSource():
            return clotho(spec)
        case AudioCapsSource():
            return audiocaps(spec)
        case Esc50Source():
            return esc50(spec)
        case SpeechCommandsSource():
            return speech_commands(spec)
        case _:
            raise AssertionError(f"no reader for {type(spec).__name__}")
