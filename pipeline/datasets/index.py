"""One index per data set, from whatever source params.yaml names."""

from pathlib import Path
from typing import Any

from pipeline.config.schema import ClipBenchmarkSource, DatasetSpec, EmojiSource, SegmentationSource, StampsSource
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.clip_benchmark import index_clip_benchmark
from pipeline.datasets.emoji import index_emoji
from pipeline.datasets.folder import index_folder_of_pictures
from pipeline.datasets.segmentation import index_segmentation
from pipeline.datasets.stamps import index_stamps


def build_index(spec: DatasetSpec, folder: Path, downloads: Path) -> dict[str, Any]:
    """Index one data set into `folder`: images, texts, pairs, labels, failures, about.json, and images.tar if needed.

    The same source gives the same bytes on every run.

    Args:
        spec: the entry of params.yaml.
        folder: where the index goes; files of an earlier index are replaced.
        downloads: where package payloads are kept between runs.

    Returns:
        What about.json holds: source, packages with versions and licences, counts, languages, available, reason.

    Raises:
        ConfigError: the entry names a language, group or category that the source does not have.
        SourceError: the source is missing or not what it should be.
    """
    with IndexBuilder(folder) as builder:
        if isinstance(spec, EmojiSource):
            about = index_emoji(spec, builder, downloads)
        elif isinstance(spec, StampsSource):
            about = index_stamps(spec, builder, downloads)
        elif isinstance(spec, ClipBenchmarkSource):
            about = index_clip_benchmark(spec, builder)
        elif isinstance(spec, SegmentationSource):
            about = index_segmentation(spec, builder, folder)
        else:
            about = index_folder_of_pictures(spec, builder)
        return builder.finish({"source": spec.source, "transfer": getattr(spec, "transfer", False), **about})
