"""`datasets`: where samples come from, one model per `source`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.config.audio_sources import (
    AudioCapsSource,
    AudioFolderSource,
    ClothoSource,
    Esc50Source,
    MediaFolderSource,
    SpeechCommandsSource,
)
from pipeline.config.base import Dialects, Language, Limit, Section, Side
from pipeline.config.raw_sources import Extended, FileFolder, Files, RawSource


class EmojiSource(Section):
    """Emoji in several drawing styles, named by Unicode CLDR in many languages."""

    source: Literal["emoji"]
    styles: Annotated[tuple[Literal["openmoji", "noto", "fluent3d", "twemoji"], ...], Field(min_length=1)]
    languages: Annotated[Dialects, Field(min_length=1)]
    exclude_groups: tuple[str, ...] = ()
    size: Side = 224
    limit: Limit = 0


class StampsSource(Extended):
    """Tux Paint stamps: photographs and drawings cut out exactly, with captions in many languages.

    With `effects` the sounds of what they show are indexed beside them, with `speech` their captions as they are read
    out in the given languages.
    """

    LATER = ("effects", "speech")

    source: Literal["stamps"]
    languages: Annotated[Dialects, Field(min_length=1)]
    exclude_categories: tuple[str, ...] = ()
    size: Side = 224
    limit: Limit = 0
    required: bool = False
    effects: bool = False
    speech: Dialects = ()


class TextTasksSource(Section):
    """Texts with right answers, to score text encoders by themselves: no images, and nothing is trained on them.

    Names, keywords and translations of emoji (Unicode CLDR), glosses and words of WordNet. `languages` are those of
    the translations; each task has `limit` queries, or as many pairs of either kind.
    """

    source: Literal["text-tasks"]
    languages: Dialects = ("de", "fr", "ja", "ru")
    limit: Annotated[int, Field(ge=10, le=1_000_000)] = 300


class FolderSource(RawSource):
    """A folder of pictures, sounds or both, and a table of captions.

    Its columns are `file` (a picture), `audio` (a sound) or both, `caption`, and optionally language, concept,
    category. A column with the name of another further modality has samples of that.
    """

    source: Literal["folder"]
    path: str
    captions: str = "captions.csv"


class ImageFolderSource(FileFolder):
    """Pictures in folders and subfolders: the first subfolder is the class, or the captions lie beside each picture.

    With `captions: beside`, a.txt has the captions of a.jpg, one a line. A top level that is called train, val or test
    is the split. `classnames` is a file that gives folders their names; `babel` one with names in `languages`.
    `order: time` takes pictures as they were written, so that new names need not sort behind the old ones.
    """

    source: Literal["image-folder"]


class Columns(Extended):
    """Which columns of a table mean what; those that are not named are not read. `caption` may name several.

    `audio` has paths or bytes of sounds. Where it is named, `image` is null unless it is named too; then a row is a
    picture and the sound that belongs to it.
    """

    LATER = ("audio",)

    image: str | None = "image"
    audio: str | None = None
    caption: str | tuple[str, ...] | None = "caption"
    language: str | None = None
    concept: str | None = None
    classname: str | None = None
    category: str | None = None
    split: str | None = None
    key: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _sounds_alone(cls, given: Any) -> Any:
        alone = isinstance(given, Mapping) and given.get("audio") is not None and "image" not in given
        return {**given, "image": None} if alone else given

    @model_validator(mode="after")
    def _of_something(self) -> "Columns":
        if self.image is None and self.audio is None:
            raise ValueError("name the column of pictures as image, or that of sounds as audio")
        return self


class TableSource(RawSource):
    """CSV, TSV, JSON lines or Parquet, one or many files, with paths of pictures or their bytes.

    Relative paths start at `images`, or else at the folder of the table.
    """

    source: Literal["table"]
    path: str | tuple[str, ...]
    images: str | None = None
    columns: Columns = Columns()
    language: Language = "en"
    split: Literal["train", "validation", "test"] | None = None


class HubSource(RawSource):
    """A data set of the Hugging Face hub, or a local folder in one of its formats, read through `datasets`."""

    source: Literal["hub"]
    path: str
    name: str | None = None
    revision: str | None = None
    splits: Annotated[tuple[str, ...], Field(min_length=1)] = ("train",)
    columns: Columns = Columns()
    language: Language = "en"


class WebdatasetSource(RawSource, Extended):
    """Tars of a webdataset, as img2dataset writes them: pictures with captions, class numbers or both under one key.

    `media: audio` takes the sound of each key in place of its picture, `both` a picture and the sound that belongs to
    it.

    `captions` is what is read as caption: a member (txt), or a field of the JSON member (json.caption). `classnames` is
    a file with a class name a line, for the numbers in .cls.
    """

    LATER = ("media",)

    source: Literal["webdataset"]
    path: str | tuple[str, ...]
    captions: tuple[str, ...] = ("txt",)
    classnames: str | None = None
    language: Language = "en"
    split: Literal["train", "validation", "test"] | None = None
    media: Literal["image", "audio", "both"] = "image"


class ClipBenchmarkSource(RawSource):
    """A data set in CLIP_benchmark's webdataset layout, for classification or retrieval.

    `babel` is a file of Babel-ImageNet, whose class names in `languages` (all, if none is given) join the English.
    """

    source: Literal["clip-benchmark"]
    path: str
    splits: Annotated[tuple[str, ...], Field(min_length=1)] = ("test",)
    babel: str | None = None
    languages: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _effective(self) -> "ClipBenchmarkSource":
        if self.babel is None:
            self.refuse(("languages",), "they are those of `babel`, which is not set")
        return self


class SlidingWindows(Section):
    """Windows of a picture whose short side is resized to `short_side`: squares of `side` pixels, `stride` apart."""

    short_side: Side = 448
    side: Side = 448
    stride: Side = 224

    @model_validator(mode="after")
    def _inside(self) -> "SlidingWindows":
        if self.side > self.short_side:
            raise ValueError(f"windows of side {self.side} do not fit into a short side of {self.short_side}")
        if self.stride > self.side:
            raise ValueError(f"stride {self.stride} above side {self.side} leaves gaps between windows")
        return self


class SegmentationSource(Files):
    """Pictures with label maps, for evaluation alone: PASCAL VOC, PASCAL Context, ADE20K, or a folder of one's own.

    `split` is the data set's own; by default validation. `windows: null` encodes each picture whole. With `synonyms`
    every name that the data set gives a class counts, else the first one.
    """

    source: Literal["voc", "pascal-context", "ade20k", "mask-folder"]
    path: str
    split: str | None = None
    windows: SlidingWindows | None = SlidingWindows()
    synonyms: bool = False
    limit: Limit = 0


class CaptionFileSource(RawSource):
    """COCO captions or Flickr30k: pictures in a folder, and files of captions in one of the usual forms.

    `annotations` are Karpathy's JSON, COCO's own captions_*.json, or Flickr30k's results_20130124.token or results.csv.
    """

    source: Literal["coco", "flickr30k"]
    annotations: str | tuple[str, ...]
    images: str
    split: Literal["train", "validation", "test"] | None = None


class Xtd10Source(RawSource):
    """XTD10: a thousand pictures of COCO with captions in eleven languages; `path` is a copy of its repository."""

    source: Literal["xtd10"]
    path: str
    images: str
    languages: tuple[str, ...] = ()


class LongCaptionSource(RawSource):
    """Pictures with long captions: DCI, DOCCI or Urban1k, as their authors distribute them.

    As `caption` they take part in training and retrieval, as `long` in the task long_text.
    """

    source: Literal["dci", "docci", "urban1k"]
    path: str
    roles: Annotated[tuple[Literal["caption", "long"], ...], Field(min_length=1)] = ("caption", "long")


DatasetSpec = Annotated[
    EmojiSource
    | StampsSource
    | TextTasksSource
    | FolderSource
    | ImageFolderSource
    | AudioFolderSource
    | MediaFolderSource
    | TableSource
    | HubSource
    | WebdatasetSource
    | ClipBenchmarkSource
    | CaptionFileSource
    | Xtd10Source
    | LongCaptionSource
    | SegmentationSource
    | ClothoSource
    | AudioCapsSource
    | Esc50Source
    | SpeechCommandsSource,
    Field(discriminator="source"),
]


def media_of(spec: DatasetSpec) -> frozenset[str] | None:
    """The modalities beside texts that a data set has; None where only its files tell."""
    match spec:
        case TextTasksSource():
            return frozenset()
        case StampsSource():
            return frozenset({"image", "audio"} if spec.effects or spec.speech else {"image"})
        case TableSource() | HubSource():
            named = {"image": spec.columns.image, "audio": spec.columns.audio}
            return frozenset(medium for medium, column in named.items() if column is not None)
        case WebdatasetSource():
            return frozenset({"image", "audio"} if spec.media == "both" else {spec.media})
        case AudioFolderSource() | ClothoSource() | AudioCapsSource() | Esc50Source() | SpeechCommandsSource():
            return frozenset({"audio"})
        case MediaFolderSource():
            return frozenset({spec.modality})
        case FolderSource():
            return None
        case _:
            return frozenset({"image"})
