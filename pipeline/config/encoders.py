"""`encoders`: frozen backbones, each named as its own library names it."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import Section
from pipeline.config.further import FURTHER, WITHOUT_WEIGHTS

if TYPE_CHECKING:
    Modality = str
else:
    Modality = Literal[("image", "text", *FURTHER)]


class EncoderSpec(Section):
    """A frozen encoder, named as its own library names it.

    Of a dual encoder (loader open_clip, or transformers with `pooling: model`), `modality` says which tower is meant;
    its features are the projected ones, `image_features` or `text_features`.

    An encoder of audio gives frames in time, or with loader log-mel statistics of a spectrogram, which nothing has
    learnt: a baseline. Loader statistics is the like of other modalities.

    Of source `imported`, `model` is where vectors lie that another program made: a folder of clip-retrieval, or a .npy
    with a Parquet table beside it. Nothing is run for them, and loader and pooling are understood.

    `dtype` holds the weights and computes in that type; `autocast` keeps weights and sums in float32 and multiplies
    matrices in the given type. `prefix` is put before every text; `prompt` names one that a sentence-transformers
    folder brings (null: its default prompt, "" for none). In params.yaml `catalogue` may name an entry
    of `pipeline.config.catalogue`, whose keys stand in for those that are not written.
    """

    modality: Modality
    source: Literal["embedded", "hub", "local", "imported"]
    model: str
    loader: Literal["transformers", "timm", "sentence-transformers", "open_clip", "imported", "log-mel", "statistics"]
    revision: str | None = None
    pooling: Literal["cls", "model", "mean", "last"] = "cls"
    layers: tuple[Annotated[int, Field(ge=-1_000, le=1_000)], ...] = (-1,)
    prefix: str = ""
    prompt: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    autocast: Literal["bfloat16", "float16"] | None = None
    trust_remote_code: bool = False

    @model_validator(mode="after")
    def _coherent(self) -> "EncoderSpec":
        if not self.layers:
            raise ValueError("layers must name at least one layer; [-1] is the last")
        if 0 in self.layers or len(set(self.layers)) < len(self.layers):
            raise ValueError(f"layers count from 1, or from the end with -1, each once; found {list(self.layers)}")
        if self.modality == "image" and self.loader == "sentence-transformers":
            raise ValueError("loader sentence-transformers is for texts; use transformers or timm for images")
        if self.modality == "text" and self.loader == "timm":
            raise ValueError("loader timm is for images; use transformers or sentence-transformers for texts")
        if self.modality in FURTHER and self.loader not in (loaders := FURTHER[self.modality].loaders):
            raise ValueError(f"{self.modality} has the loaders {' and '.join(loaders)}; found {self.loader}")
        if self.loader in WITHOUT_WEIGHTS:
            self._coherent_statistics()
        if self.modality == "text":
            self.refuse(("layers",) * (self.layers != (-1,)), "the last layer of a text encoder is pooled")
        if self.source != "hub":
            self.refuse(("revision",) * (self.revision is not None), "revisions belong to `source: hub`")
        if (self.source == "imported") != (self.loader == "imported"):
            raise ValueError("source imported has loader imported, and no other source has; leave out the loader")
        if self.source == "imported":
            written = {"dtype": self.dtype != "float32", "autocast": self.autocast, "prefix": self.prefix}
            written |= {"prompt": self.prompt is not None, "trust_remote_code": self.trust_remote_code}
            self.refuse((key for key, set_ in written.items() if set_), "imported vectors are taken as they are")
        if self.loader == "imported" and (self.pooling != "model" or self.layers != (-1,)):
            raise ValueError("source imported has one vector for each input; leave out pooling and layers")
        if self.loader == "open_clip" and (self.pooling != "model" or self.layers != (-1,)):
            raise ValueError("loader open_clip gives the model's own features alone; set pooling: model, and no layers")
        if self.loader == "open_clip" and self.trust_remote_code:
            raise ValueError("loader open_clip runs no code of a checkpoint; leave out trust_remote_code")
        if self.modality != "text" and (self.prefix or self.prompt is not None):
            raise ValueError("prefix and prompt are for texts")
        if self.prompt is not None and self.loader != "sentence-transformers":
            raise ValueError("prompt names one of a sentence-transformers folder; with another loader write a prefix")
        if self.prompt and self.prefix:
            raise ValueError("set prompt (a name from the folder) or prefix (the string itself), not both")
        if self.autocast is not None and self.dtype != "float32":
            raise ValueError(f"autocast keeps weights in float32; leave out dtype, found {self.dtype}")
        return self

    def _coherent_statistics(self) -> None:
        takers = [name for name, modality in FURTHER.items() if self.loader in modality.loaders]
        if self.modality not in takers:
            raise ValueError(f"loader {self.loader} is for {' and '.join(takers)}; found modality {self.modality}")
        if self.pooling != "model" or self.layers != (-1,):
            raise ValueError(f"loader {self.loader} gives one vector of statistics; set pooling: model, and no layers")
        written = {"dtype": self.dtype != "float32", "autocast": self.autocast}
        self.refuse((key for key, set_ in written.items() if set_), f"loader {self.loader} computes in float32")
