"""The schema of params.yaml: one frozen model per catalogue entry and per stage.

Everything a stage may read is here; the library receives these objects and never a raw mapping.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A part of params.yaml: immutable, no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class EncoderSpec(Section):
    """A frozen encoder, named as its own library names it.

    Of a dual encoder (loader open_clip, or transformers with `pooling: model`), `modality` says which tower is meant;
    its features are the projected ones, `image_features` or `text_features`.

    `dtype` holds the weights and computes in that type; `autocast` keeps weights and sums in float32 and multiplies
    matrices in the given type. `prefix` is put before every text; `prompt` names one that a sentence-transformers
    folder brings (null: its default prompt, "" for none). In params.yaml `catalogue` may name an entry
    of `pipeline.config.catalogue`, whose keys stand in for those that are not written.
    """

    modality: Literal["image", "text"]
    source: Literal["embedded", "hub", "local"]
    model: str
    loader: Literal["transformers", "timm", "sentence-transformers", "open_clip"]
    revision: str | None = None
    pooling: Literal["cls", "model", "mean", "last"] = "cls"
    layers: tuple[int, ...] = (-1,)
    prefix: str = ""
    prompt: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    autocast: Literal["bfloat16", "float16"] | None = None
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _coherent(self) -> "EncoderSpec":
        if not self.layers:
            raise ValueError("layers must name at least one layer; [-1] is the last")
        if self.modality == "image" and self.loader == "sentence-transformers":
            raise ValueError("loader sentence-transformers is for texts; use transformers or timm for images")
        if self.modality == "text" and self.loader == "timm":
            raise ValueError("loader timm is for images; use transformers or sentence-transformers for texts")
        if self.loader == "open_clip" and (self.pooling != "model" or self.layers != (-1,)):
            raise ValueError("loader open_clip gives the model's own features alone; set pooling: model, and no layers")
        if self.loader == "open_clip" and self.trust_remote_code:
            raise ValueError("loader open_clip runs no code of a checkpoint; leave out trust_remote_code")
        if self.modality == "image" and (self.prefix or self.prompt is not None):
            raise ValueError("prefix and prompt are for texts")
        if self.prompt is not None and self.loader != "sentence-transformers":
            raise ValueError("prompt names one of a sentence-transformers folder; with another loader write a prefix")
        if self.prompt and self.prefix:
            raise ValueError("set prompt (a name from the folder) or prefix (the string itself), not both")
        if self.autocast is not None and self.dtype != "float32":
            raise ValueError(f"autocast keeps weights in float32; leave out dtype, found {self.dtype}")
        return self


class ViewSpec(Section):
    """What is kept of an encoder's output, and of which input.

    `crops` keeps the features of as many random crops of each image beside its own; each has a share of its area
    between the two of `crop_scale`.

    `fit: whole` resizes all of an image to the square that the encoder sees, as windows of a picture need it; `model`
    resizes and crops as the encoder's own library does.

    With `templates` a text is put in place of {} in each, and its embedding is the mean over them: prompt averaging as
    of class names (CLIP), for captions as well.
    """

    encoder: Name
    resolution: Positive | None = None
    fit: Literal["model", "whole"] = "model"
    tier: Literal["cls", "grid", "full"] = "grid"
    grid: Positive = 3
    crops: NonNegative = 0
    crop_scale: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = (0.4, 1.0)
    max_tokens: Positive | None = None
    truncations: tuple[Positive, ...] = ()
    chunk_tokens: Positive | None = None
    templates: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    dtype: Literal["float16", "float32", "int8"] = "float16"

    @model_validator(mode="after")
    def _rising(self) -> "ViewSpec":
        if self.crop_scale[0] > self.crop_scale[1]:
            raise ValueError(f"crop_scale goes from {self.crop_scale[0]:g} down to {self.crop_scale[1]:g}")
        if list(self.truncations) != sorted(set(self.truncations)):
            raise ValueError(f"truncations must rise, each once, found {list(self.truncations)}")
        if self.max_tokens is not None and any(length > self.max_tokens for length in self.truncations):
            raise ValueError(f"truncations {list(self.truncations)} go beyond max_tokens {self.max_tokens}")
        if self.chunk_tokens is not None and self.max_tokens is not None and self.chunk_tokens >= self.max_tokens:
            raise ValueError(f"chunk_tokens {self.chunk_tokens} must be below max_tokens {self.max_tokens}")
        return self

    @model_validator(mode="after")
    def _of_templates(self) -> "ViewSpec":
        for template in self.templates:
            if template.count("{}") != 1:
                raise ValueError(f"template {template!r} needs exactly one {{}}")
        if self.templates and (self.tier == "full" or self.truncations or self.chunk_tokens):
            raise ValueError("templates give one embedding per text; leave out tier full, truncations, chunk_tokens")
        return self


class EmojiSource(Section):
    """Emoji in several drawing styles, named by Unicode CLDR in many languages."""

    source: Literal["emoji"]
    group: Name
    styles: Annotated[tuple[Literal["openmoji", "noto", "fluent3d", "twemoji"], ...], Field(min_length=1)]
    languages: Annotated[tuple[str, ...], Field(min_length=1)]
    exclude_groups: tuple[str, ...] = ()
    size: Positive = 224
    limit: NonNegative = 0


class StampsSource(Section):
    """Tux Paint stamps: photographs and drawings cut out exactly, with captions in many languages."""

    source: Literal["stamps"]
    group: Name
    languages: Annotated[tuple[str, ...], Field(min_length=1)]
    exclude_categories: tuple[str, ...] = ()
    size: Positive = 224
    limit: NonNegative = 0
    required: bool = False


class RawSource(Section):
    """What every data set of one's own has.

    `transfer` says that it is for evaluation alone: no concept is held out because of it, and none of it is trained on.
    `limit` takes the first samples only. `check` decodes every picture, or reads headers alone and leaves damage behind
    them to encode. A source is given up once more than `max_failure_rate` of its samples cannot
    be used; one of fewer than a hundred may have as many failures as one of a hundred. `descriptions` is a JSON file
    with sentences for each class name, for the prompt set `descriptions`.
    """

    group: Name
    transfer: bool = False
    limit: NonNegative = 0
    check: Literal["decode", "header"] = "decode"
    descriptions: str | None = None
    max_failure_rate: Annotated[float, Field(ge=0, le=1)] = 0.1


class FolderSource(RawSource):
    """A folder of pictures and a table of captions (`file,caption` and optionally language, concept, category)."""

    source: Literal["folder"]
    path: str
    captions: str = "captions.csv"


class ImageFolderSource(RawSource):
    """Pictures in folders and subfolders: the first subfolder is the class, or the captions lie beside each picture.

    With `captions: beside`, a.txt has the captions of a.jpg, one a line. A top level that is called train, val or test
    is the split. `classnames` is a file that gives folders their names; `babel` one with names in `languages`.
    `order: time` takes pictures as they were written, so that new names need not sort behind the old ones.
    """

    source: Literal["image-folder"]
    path: str
    labels: Literal["folder", "none"] = "folder"
    captions: Literal["beside", "none"] = "none"
    language: str = "en"
    classnames: str | None = None
    babel: str | None = None
    languages: tuple[str, ...] = ()
    order: Literal["name", "time"] = "name"


class Columns(Section):
    """Which columns of a table mean what; those that are not named are not read. `caption` may name several."""

    image: str = "image"
    caption: str | tuple[str, ...] | None = "caption"
    language: str | None = None
    concept: str | None = None
    classname: str | None = None
    category: str | None = None
    split: str | None = None
    key: str | None = None


class TableSource(RawSource):
    """CSV, TSV, JSON lines or Parquet, one or many files, with paths of pictures or their bytes.

    Relative paths start at `images`, or else at the folder of the table.
    """

    source: Literal["table"]
    path: str | tuple[str, ...]
    images: str | None = None
    columns: Columns = Columns()
    language: str = "en"
    split: Literal["train", "validation", "test"] | None = None


class HubSource(RawSource):
    """A data set of the Hugging Face hub, or a local folder in one of its formats, read through `datasets`."""

    source: Literal["hub"]
    path: str
    name: str | None = None
    revision: str | None = None
    splits: Annotated[tuple[str, ...], Field(min_length=1)] = ("train",)
    columns: Columns = Columns()
    language: str = "en"


class WebdatasetSource(RawSource):
    """Tars of a webdataset, as img2dataset writes them: pictures with captions, class numbers or both under one key.

    `captions` is what is read as caption: a member (txt), or a field of the JSON member (json.caption). `classnames` is
    a file with a class name a line, for the numbers in .cls.
    """

    source: Literal["webdataset"]
    path: str | tuple[str, ...]
    captions: tuple[str, ...] = ("txt",)
    classnames: str | None = None
    language: str = "en"
    split: Literal["train", "validation", "test"] | None = None


class ClipBenchmarkSource(RawSource):
    """A data set in CLIP_benchmark's webdataset layout, for classification or retrieval.

    `babel` is a file of Babel-ImageNet, whose class names in `languages` (all, if none is given) join the English.
    """

    source: Literal["clip-benchmark"]
    path: str
    splits: Annotated[tuple[str, ...], Field(min_length=1)] = ("test",)
    babel: str | None = None
    languages: tuple[str, ...] = ()


class SlidingWindows(Section):
    """Windows of a picture whose short side is resized to `short_side`: squares of `side` pixels, `stride` apart."""

    short_side: Positive = 448
    side: Positive = 448
    stride: Positive = 224

    @model_validator(mode="after")
    def _inside(self) -> "SlidingWindows":
        if self.side > self.short_side:
            raise ValueError(f"windows of side {self.side} do not fit into a short side of {self.short_side}")
        if self.stride > self.side:
            raise ValueError(f"stride {self.stride} above side {self.side} leaves gaps between windows")
        return self


class SegmentationSource(Section):
    """Pictures with label maps, for evaluation alone: PASCAL VOC, PASCAL Context, ADE20K, or a folder of one's own.

    `split` is the data set's own; by default validation. `windows: null` encodes each picture whole. With `synonyms`
    every name that the data set gives a class counts, else the first one.
    """

    source: Literal["voc", "pascal-context", "ade20k", "mask-folder"]
    group: Literal["scenes"]
    path: str
    split: str | None = None
    windows: SlidingWindows | None = SlidingWindows()
    synonyms: bool = False
    limit: NonNegative = 0


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
    | FolderSource
    | ImageFolderSource
    | TableSource
    | HubSource
    | WebdatasetSource
    | ClipBenchmarkSource
    | CaptionFileSource
    | Xtd10Source
    | LongCaptionSource
    | SegmentationSource,
    Field(discriminator="source"),
]


class StoreSpec(Section):
    """One feature store, one DVC stage: which data set through which view."""

    group: Name
    dataset: Name
    view: Name
    encoder: Name


class LossSpec(Section):
    """What the training of a head makes small, and what keeps it from learning the training pairs by heart.

    `kind`: `info-nce` (CLIP), or `sigmoid` (SigLIP), divided by the pairs of the batch squared (`pairs`, as SAIL does)
    or by their number (`batch`); `bias` is where its bias starts. `positives`: what counts as right beside the pair
    itself: nothing (`own`), every caption that some pair joins with the image (`pairs`), or every one of the same
    concept (`concept`). Above `chunk_rows` pairs the matrix of similarities is computed so many rows at a time; on a
    CPU, in smaller blocks.

    Weights of added terms: `structure` keeps the neighbourhoods of each side as they were before the head (STRUCTURE),
    growing over the share `structure_warmup` of the steps; `patch_text` compares texts with local tokens. `mixup` is
    the parameter of the Beta distribution by which pairs are mixed (FuseMix; 0 for none), `noise` the size of Gaussian
    noise on features, in units of their root mean square.
    """

    kind: Literal["info-nce", "sigmoid"] = "info-nce"
    positives: Literal["own", "pairs", "concept"] = "pairs"
    normalise: Literal["batch", "pairs"] = "pairs"
    bias: float = -10.0
    chunk_rows: Positive = 2048
    structure: Annotated[float, Field(ge=0)] = 0.0
    structure_temperature: Annotated[float, Field(gt=0)] = 0.05
    structure_levels: Positive = 1
    structure_warmup: Annotated[float, Field(ge=0, le=1)] = 0.1
    patch_text: Annotated[float, Field(ge=0)] = 0.0
    mixup: Annotated[float, Field(ge=0)] = 0.0
    noise: Annotated[float, Field(ge=0)] = 0.0


class ClosedForm(Section):
    """A head that is computed, not trained; of several in an aligner, the cosines add, each times its `weight`.

    `procrustes`: orthogonal maps. `ridge`: linear regression of one side on the other (`direction`). `cca`: canonical
    correlations, weighted by a power of theirs (`power`). `asif`: similarities to training pairs, the `neighbours`
    largest to the power `exponent`. `kernel-ridge`: regression with a Gaussian kernel, exact (it keeps every training
    image and costs their number cubed), or with `size` random Fourier features or Nystrom landmarks, which stream.

    Of `shrink` (whitening inside cca; added variance, in units of the mean), `power`, `ridge` (penalty) and `bandwidth`
    (of the kernel, in units of the mean squared distance) several values may be given: validation recall chooses.
    """

    form: Literal["procrustes", "ridge", "cca", "asif", "kernel-ridge"]
    weight: Annotated[float, Field(gt=0)] = 1.0
    direction: Literal["image-to-text", "text-to-image"] = "image-to-text"
    features: Literal["exact", "fourier", "nystrom"] = "exact"
    size: Positive = 2048
    shrink: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (0.3,)
    power: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = (1.0,)
    ridge: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (0.3,)
    bandwidth: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1.0,)
    neighbours: Annotated[tuple[Positive, ...], Field(min_length=1)] = (400,)
    exponent: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (8.0,)


class AlignerSpec(Section):
    """Two views and the head between them.

    Head `identity` trains nothing: the views are the two towers of a dual encoder, whose features are only brought to
    unit length. They must be of one model, unless `two_models` says that both models share a space. Its `curation` is
    not read.

    `layers` is how many of the last kept layers of the image view are joined; `crops` trains on the random crops that
    it keeps of each image as on further images. Heads other than freeze-align take one
    vector per image, `image_input`: the CLS token, the mean over local tokens, their sum, or both in a row. `whiten`
    puts a fixed whitening before the head, measured on the training split, with `whiten_shrink` times the mean variance
    added to every direction. `init` starts head linear from a closed form. `train` changes keys of the section `train`
    for this aligner.

    `curation` names the selection of training images; `dense` is a view of the same image encoder with every patch
    token, through which composed scenes are seen; `long_text` a view of the same text encoder with truncations.
    """

    image: Name
    text: Name
    data: Annotated[tuple[Name, ...], Field(min_length=1)]
    head: Literal[
        "freeze-align", "linear", "mlp", "gated-unit", "inverted-bottleneck", "gated-low-rank", "closed", "identity"
    ] = "freeze-align"
    two_models: bool = False
    embed_dim: Positive | None = None
    local_tokens: Literal["grid", "patch", "mean", "none"] = "grid"
    layers: Positive = 1
    crops: bool = False
    image_input: Literal["cls", "mean", "sum", "concat"] = "concat"
    whiten: Literal["none", "image", "text", "both"] = "none"
    whiten_shrink: Annotated[float, Field(gt=0)] = 0.3
    closed: tuple[ClosedForm, ...] = ()
    init: Literal["random", "procrustes", "ridge", "cca"] = "random"
    text_tokens: Literal["pooled", "full"] = "pooled"
    prompts: Name = "classnames"
    curation: Name = "all"
    dense: Name | None = None
    dense_head: Name | None = None
    long_text: Name | None = None
    loss: LossSpec = LossSpec()
    train: dict[str, int | float | str] = {}

    @model_validator(mode="after")
    def _fits_its_head(self) -> "AlignerSpec":
        if (self.head == "closed") != bool(self.closed):
            raise ValueError("head closed needs `closed`, the forms to compute, and no other head takes it")
        if self.init != "random" and self.head != "linear":
            raise ValueError(f"init {self.init} is for head linear, found {self.head}")
        if self.init != "random" and self.image_input == "sum" and self.whiten in ("image", "both"):
            raise ValueError("init of the sum of two whitened vectors is no linear map of it: set image_input: concat")
        if self.layers > 1 and self.local_tokens not in ("mean", "none"):
            raise ValueError("several layers are kept of cls and mean alone: set local_tokens to mean or none")
        if self.crops and self.local_tokens == "patch":
            raise ValueError("no patch tokens are kept of crops: set local_tokens to grid, mean or none")
        if self.layers > 1 and self.dense is not None:
            raise ValueError("patch tokens are kept of one layer: leave out `dense`, or set layers: 1")
        if self.local_tokens == "none" and self.image_input != "cls" and self.head not in ("freeze-align", "identity"):
            raise ValueError(f"image_input {self.image_input} takes local tokens; with local_tokens none it is cls")
        if self.loss.patch_text and self.local_tokens not in ("grid", "patch"):
            raise ValueError("loss.patch_text compares texts with local tokens: set local_tokens to grid or patch")
        if self.loss.mixup and self.text_tokens == "full":
            raise ValueError("loss.mixup mixes sentence embeddings: set text_tokens: pooled")
        return self

    @model_validator(mode="after")
    def _of_one_head(self) -> "AlignerSpec":
        if self.head != "identity" and self.two_models:
            raise ValueError("two_models is for head identity; a trained head may join any two models")
        if self.head == "identity":
            wrong = [name for name in ("embed_dim", "dense", "dense_head") if getattr(self, name) is not None]
            wrong += ["text_tokens"] * (self.text_tokens != "pooled")
            if wrong:
                raise ValueError(f"head identity takes one vector per image and per text; leave out {', '.join(wrong)}")
        if self.dense_head is not None and self.dense is None:
            raise ValueError("dense_head needs `dense`, the view through which it sees pictures")
        return self

    @property
    def local_features(self) -> str:
        """The local tokens that the head reads: `local_tokens`, or "none" for head identity."""
        return "none" if self.head == "identity" else self.local_tokens

    @property
    def scenes(self) -> str | None:
        """The view through which whole scenes are seen: `dense`, or for head identity its own `image`."""
        return self.image if self.head == "identity" and self.long_text is not None else self.dense


class DenseHeadSpec(Section):
    """A head from patch tokens to texts, fitted in closed form to the objects of composed training scenes.

    `image` is a view of tier full, `text` a view of texts; an aligner uses the head through the same views.
    `regularisation` is that of ridge regression, relative to the mean variance of a feature.
    """

    image: Name
    text: Name
    regularisation: Annotated[float, Field(gt=0)] = 0.3


class SplitsParams(Section):
    """Held-out concept families; the split of repeat i is drawn with seed `seed * repeats + i`."""

    repeats: Positive = 5
    validation: Fraction = 0.1
    test: Fraction = 0.2
    largest_family: Fraction = 0.05

    @model_validator(mode="after")
    def _room_for_train(self) -> "SplitsParams":
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test = {self.validation + self.test:g} leaves nothing to train on")
        return self


class ScenesParams(Section):
    """Composed scenes: cut-outs of the data sets `pieces` on a background, `objects` of them (from, to) per scene.

    `count` scenes are for evaluation; dense heads learn from `training` others.
    """

    pieces: Annotated[tuple[Name, ...], Field(min_length=1)]
    count: Positive = 200
    size: Annotated[int, Field(ge=32)] = 224
    objects: tuple[Positive, Positive] = (2, 12)
    training: Positive = 400

    @model_validator(mode="after")
    def _range(self) -> "ScenesParams":
        low, high = self.objects
        if low > high:
            raise ValueError(f"objects goes from {low} down to {high}; write the smaller number first")
        if high > 64:
            raise ValueError(f"objects goes up to {high}; a scene holds at most 64")
        return self


class CompareParams(Section):
    """Similarity of every candidate pair of an image view and a text view, on samples that no test split holds."""

    datasets: Annotated[tuple[Name, ...], Field(min_length=1)]
    images: Annotated[tuple[Name, ...], Field(min_length=1)]
    texts: Annotated[tuple[Name, ...], Field(min_length=1)]
    control: Name
    neighbours: Positive = 10
    permutations: Annotated[int, Field(ge=20)] = 200


class SyntheticToy(Section):
    """The poster's synthetic study: A = T1(Z) + w1 U, B = T2(Z) + w2 U; every pair of noise levels, every seed."""

    samples: Annotated[int, Field(ge=64)] = 1024
    width: Annotated[int, Field(ge=2)] = 32
    noise: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=2)] = (0.0, 0.25, 0.5, 0.75, 1.0)
    seeds: Positive = 3


class ToyParams(Section):
    """The poster's two toy studies: similarity against the CLIP loss after `iterations` steps."""

    synthetic: SyntheticToy = SyntheticToy()
    iterations: Positive = 500
    batch_size: Annotated[int, Field(ge=2)] = 256
    width: Positive = 64
    lr: Annotated[float, Field(gt=0)] = 1e-3
    seeds: Positive = 3
    device: str = "auto"


class ClassificationSet(Section):
    """Which labels of which data set are classes."""

    dataset: Name
    label: Literal["concept", "category"]


class SceneLabels(ClassificationSet):
    """Labels of the objects in composed scenes, in English and in other `languages` that prompts are there in."""

    languages: tuple[str, ...] = ()


class CurationSpec(Section):
    """Which training images an aligner may see, per repeat.

    `all`: every one. `random`: `images` of them. `prototypes`: few-shot concept prototypes retrieve `candidates` each
    from the pool, and a balanced assignment, rarest concept first, keeps `images` in all.
    """

    method: Literal["all", "random", "prototypes"]
    view: Name
    pool: Annotated[tuple[Name, ...], Field(min_length=1)]
    images: Positive | None = None
    concepts: tuple[ClassificationSet, ...] = ()
    shots: Positive = 8
    candidates: Positive = 512

    @model_validator(mode="after")
    def _complete(self) -> "CurationSpec":
        if self.method != "all" and self.images is None:
            raise ValueError(f"method {self.method} needs `images`, the number to keep")
        if self.method == "prototypes" and not self.concepts:
            raise ValueError("method prototypes needs `concepts`, the labels to make prototypes of")
        return self


class Translation(Section):
    """Names of the classes of a label in another language, by what the data set calls them."""

    dataset: Name
    label: Literal["concept", "category"]
    language: Annotated[str, Field(min_length=1)]
    names: Annotated[dict[str, Annotated[str, Field(min_length=1)]], Field(min_length=1)]

    @model_validator(mode="after")
    def _foreign(self) -> "Translation":
        if self.language == "en":
            raise ValueError("English names come from the data set; translations are into other languages")
        return self


NamedTemplates = Literal["openai-80", "openai-7", "own", "descriptions"]


class PromptsParams(Section):
    """Which classes get prompts, and named template sets; `{}` stands for the class name.

    A set may be a name: OpenAI's 80 or 7 templates for ImageNet, those that came with each data set (own), or sentences
    for each class (descriptions, of data sets that name such a file; others take the bare class name). `segmentation`
    names data sets with label maps whose classes get prompts too. Names in other languages than English, their own or
    those of `translations`, are prompts as they are, without a template.
    """

    classes: Annotated[tuple[ClassificationSet, ...], Field(min_length=1)]
    sets: Annotated[dict[Name, tuple[str, ...] | NamedTemplates], Field(min_length=1)]
    segmentation: tuple[Name, ...] = ()
    translations: tuple[Translation, ...] = ()

    @model_validator(mode="after")
    def _placeholders(self) -> "PromptsParams":
        for name, templates in self.sets.items():
            if isinstance(templates, str):
                continue
            if not templates:
                raise ValueError(f"prompts.sets.{name} holds no template")
            for template in templates:
                if template.count("{}") != 1:
                    raise ValueError(f"template {template!r} in prompts.sets.{name} needs exactly one {{}}")
        return self


class EncodeParams(Section):
    """How encoding runs. Nothing here changes what a feature means, or its value beyond the stated tolerance.

    `auto` for a batch size tries some once and remembers the fastest, for `workers` it takes one thread per core.
    """

    batch_size: Positive | Literal["auto"] = 16
    text_batch_size: Positive | Literal["auto"] = 64
    workers: NonNegative | Literal["auto"] = "auto"
    compile: bool = False
    channels_last: bool = False
    shard_rows: Positive = 512
    device: str = "auto"
    max_failure_rate: Annotated[float, Field(ge=0, le=1)] = 0.01


class MemberParams(Section):
    """What one member of a training of many has for itself; what is left out is as in `train`.

    `seed` is added to the seed of params.yaml for initialisation and dropout; splits and batches are shared.
    """

    lr: Annotated[float, Field(gt=0)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    temperature: Annotated[float, Field(gt=0)] | None = None
    seed: NonNegative = 0


class TrainParams(Section):
    """Optimisation of the heads on cached features.

    `features` says where those are: on the device, in host memory, or streamed from the store; auto goes by what is
    free. Streamed pairs are read in blocks of `shuffle_block`, and mixed in windows that take `shuffle_buffer_mb`.

    Every `validate_every` steps (0: at the end of each epoch) the heads are judged on the validation split; after
    `patience` judgements without a better one training ends (0: never early). `ema` is the decay of an average of the
    weights, which is then what is judged and kept (0: none). `members` train side by side on the same batches; `member`
    names the one to keep, or is best. Every `checkpoint_seconds` all is saved for a killed run to go on from (0: not).
    """

    epochs: Positive = 30
    batch_size: Annotated[int, Field(ge=2)] = 1024
    lr: Annotated[float, Field(gt=0)] = 1e-3
    min_lr: Annotated[float, Field(ge=0)] = 1e-5
    warmup_steps: NonNegative = 20
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    temperature: Annotated[float, Field(gt=0)] = 0.07
    grad_clip: Annotated[float, Field(ge=0)] = 1.0
    device: str = "auto"
    features: Literal["auto", "device", "host", "stream"] = "auto"
    shuffle_block: Positive = 128
    shuffle_buffer_mb: Positive = 256
    precision: Literal["float32", "bfloat16"] = "float32"
    step: Literal["eager", "compiled", "captured"] = "eager"
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    validate_every: NonNegative = 0
    patience: NonNegative = 0
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 60.0
    members: dict[Name, MemberParams] = {}
    member: Name = "best"

    def changed(self, changes: Mapping[str, int | float | str]) -> "TrainParams":
        """These parameters with some keys changed, as `train` of an aligner asks.

        Raises:
            pydantic.ValidationError: an unknown key or an impossible value.
        """
        return TrainParams.model_validate({**self.model_dump(), **changes})

    @model_validator(mode="after")
    def _rates(self) -> "TrainParams":
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr:g} is above lr {self.lr:g}; the cosine goes from lr down to min_lr")
        for name, member in self.members.items():
            if member.lr is not None and self.min_lr > member.lr:
                raise ValueError(f"min_lr {self.min_lr:g} is above lr {member.lr:g} of member {name!r}")
        return self

    @model_validator(mode="after")
    def _named(self) -> "TrainParams":
        if "best" in self.members:
            raise ValueError("no member may be called best: `member: best` keeps the best on validation")
        if self.member != "best" and self.member not in self.members:
            known = ", ".join(self.members) or "none"
            raise ValueError(f"member is {self.member!r}; write best or one of members ({known})")
        return self


class SegmentationBenchmark(Section):
    """One row of figures on a data set with label maps.

    `views` says through which view of its image encoder each aligner sees the data set. Protocol `standard` is mean IoU
    over all classes; with `background`, pixels whose best class has a lower probability are background, which is then
    a class, and without it background pixels do not count. `freeze-align` is that paper's own figure, no mean IoU.
    """

    dataset: Name
    views: Annotated[dict[Name, Name], Field(min_length=1)]
    protocol: Literal["standard", "freeze-align"] = "standard"
    background: Fraction | None = None
    prompt_set: Name
    languages: Annotated[tuple[str, ...], Field(min_length=1)] = ("en",)

    @model_validator(mode="after")
    def _of_one_protocol(self) -> "SegmentationBenchmark":
        if self.protocol == "freeze-align" and self.background is not None:
            raise ValueError("protocol freeze-align knows no background; leave out `background`")
        return self


TaskName = Literal[
    "retrieval", "classification", "multilingual", "segmentation", "long_text", "segmentation_benchmarks"
]


class EvaluateParams(Section):
    """Evaluation protocols; the test split is read here and nowhere else.

    Every aligner is compared with `control`, and those named in `versus` with another one as well. `multilingual` names
    data sets, `long_text` those with captions of role "long" (scenes are always among them), `segmentation` the labels
    of the pieces that scenes are made of. Examples are those of `showcase`.
    `class_vectors` says whether the mean over the prompts of a class is brought back to unit length, as CLIP does, or
    left as it is, as in Freeze-Align's own code.
    """

    tasks: Annotated[tuple[TaskName, ...], Field(min_length=1)]
    control: Name
    versus: dict[Name, Name] = {}
    showcase: Name
    datasets: Annotated[tuple[Name, ...], Field(min_length=1)]
    recall_at: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 5, 10)
    prompt_sets: Annotated[tuple[Name, ...], Field(min_length=1)] = ("single",)
    classification: tuple[ClassificationSet, ...] = ()
    multilingual: tuple[Name, ...] = ()
    long_text: tuple[Name, ...] = ()
    segmentation: tuple[SceneLabels, ...] = ()
    segmentation_benchmarks: tuple[SegmentationBenchmark, ...] = ()
    class_vectors: Literal["unit", "mean"] = "unit"
    examples: NonNegative = 12
    bootstrap: Annotated[int, Field(ge=100)] = 2000
    device: str = "auto"


class Params(Section):
    """All of params.yaml, less the `hydra` block."""

    seed: NonNegative
    encoders: dict[Name, EncoderSpec]
    views: dict[Name, ViewSpec]
    datasets: dict[Name, DatasetSpec]
    stores: dict[Name, StoreSpec]
    scenes: ScenesParams
    curations: dict[Name, CurationSpec]
    aligners: dict[Name, AlignerSpec]
    dense_heads: dict[Name, DenseHeadSpec] = {}
    splits: SplitsParams
    prompts: PromptsParams
    encode: EncodeParams
    compare: CompareParams
    toy: ToyParams
    train: TrainParams
    evaluate: EvaluateParams
