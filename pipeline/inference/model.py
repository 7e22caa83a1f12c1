"""`Aligner`: frozen encoders and fitted heads as one model of pictures and texts."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np
import torch

from pipeline.alignment import HeadConfig, ProjectionHeads
from pipeline.alignment.dense import DenseHead
from pipeline.alignment.head_config import SPACE_FOLDER
from pipeline.alignment.vectors import embed_images, embed_stored_images, embed_stored_texts
from pipeline.arithmetic import own_arithmetic
from pipeline.device import choose_device
from pipeline.errors import ModelError
from pipeline.features.by_id import RowsById
from pipeline.inference.arguments import string, strings, strings_by_name, whole_number
from pipeline.inference.classify import Label, class_list, labelled, named_classes, template_list
from pipeline.inference.encoders import FrozenEncoders
from pipeline.inference.filters import Where
from pipeline.inference.folder import aligner_folder
from pipeline.inference.further import Further
from pipeline.inference.fused_encoders import encoders_of
from pipeline.inference.habits import Evaluations, refuse_arguments
from pipeline.inference.inputs import ImageLike, image_list, text_list
from pipeline.inference.kept import Kept
from pipeline.inference.placement import dtype_name, mapped_device
from pipeline.inference.scan import Block
from pipeline.inference.search import (
    Hit,
    Query,
    Searched,
    best_rows,
    combined_query,
    embedded_rows,
    require_query,
    store_filter,
    store_side,
)
from pipeline.inference.segment import segment_image
from pipeline.inference.towers import tower_folder
from pipeline.paths import DATA
from pipeline.user_path import user_path

TEMPLATES = ("a picture of a {}.",)
_MOST_CLASSES, _MOST_ROWS = 64 << 20, 256 << 20  # bytes of vectors that are kept for the next call


class Aligner(Further):
    """A fitted aligner. Encoders are found and loaded on first use; stored features need no encoder.

    It answers to the names of `sentence_transformers.SentenceTransformer`; docs/aligner.md has the differences.

    Attributes:
        config: what was recorded at training: views, fingerprints of the encoders, width K (`embed_dim`).
        repeat: which of the fitted heads are in use.
    """

    def __init__(self, heads: ProjectionHeads, encoders: FrozenEncoders, repeat: int) -> None:
        self.config: HeadConfig = heads.config
        self.repeat = repeat
        self._heads, self._encoders = heads, encoders
        self.prompts, self.default_prompt_name, self.truncate_dim = {}, None, None
        self.model_card_data = Evaluations()
        self._folder = None
        self._kept_classes: Kept[np.ndarray] = Kept(_MOST_CLASSES, lambda vectors: vectors.nbytes)
        self._kept_rows: Kept[list[Block]] = Kept(_MOST_ROWS, lambda blocks: sum(v.nbytes for _, v in blocks))

    def __reduce__(self) -> tuple[type["Aligner"], tuple[object, ...], dict[str, object]]:
        kept = ("prompts", "default_prompt_name", "truncate_dim", "_folder", "_space")
        state = {name: getattr(self, name) for name in kept}
        return type(self), (self._heads, self._encoders, self.repeat), state

    @classmethod
    @own_arithmetic()
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        repeat: int = 0,
        text: str | None = None,
        device: str = "auto",
        trust_remote_code: bool = False,
        checkpoints: str | Path | None = None,
        trust: str | Sequence[str] = (),
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        dtype: str | torch.dtype | None = None,
        device_map: str | dict[str, str] | None = None,
        prompts: dict[str, str] | None = None,
        default_prompt_name: str | None = None,
        truncate_dim: int | None = None,
        **others: object,
    ) -> "Aligner":
        """Load an aligner from a folder such as data/models/default, or from the Hugging Face hub.

        An encoder is looked for in `checkpoints`, in data/checkpoints of the project that the folder belongs to, in
        ./data/checkpoints and among those made earlier; else it is made from its recorded source, a package or what
        `trust` names, and kept for the next time. Either way it must give the features that the heads were fitted to.

        Args:
            revision: branch, tag or commit on the hub.
            repeat: which heads; each repeat was fitted with another split and seed.
            text: which of the text towers that the folder holds (`text_towers`); its own where None.
            trust_remote_code: whether an encoder's own Python code may run.
            checkpoints: a folder that holds checkpoint folders.
            trust: repositories of the hub, and local folders, from which encoders may be made again. The folder of an
                aligner can name any; without your word none is asked, and the error says which would have been.
            token, cache_dir, local_files_only: as of `huggingface_hub`, where `name` is on the hub.
            dtype: "float16" or "bfloat16" to compute the encoders in it; vectors then differ in the third digit from
                those of a store. Heads stay in float32.
            device_map: in place of `device`: a device, "auto", or {"": device}; an aligner is not split over several.
            prompts, default_prompt_name, truncate_dim: see `Encode`.

        Raises:
            ModelError: no such folder or repository, not an aligner, or damaged.
            ConfigError: this machine lacks the device.
            DataError: `repeat` is not a whole number of at least 0, or another argument is impossible.
        """
        refuse_arguments(others)
        repeat = whole_number(repeat, "repeat", 0)
        revision = None if revision is None else string(revision, "revision")
        hub = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        folder = aligner_folder(name, revision, **hub)
        chosen = choose_device(mapped_device(device, device_map))
        own = folder if text is None else tower_folder(folder, string(text, "text"))
        heads = ProjectionHeads.from_folder(own, repeat, chosen)
        config = heads.config
        data = folder.resolve().parent.parent
        folders = [] if checkpoints is None else [user_path(checkpoints, "a folder of checkpoints")]
        folders += [data / "checkpoints", DATA / "checkpoints"]
        encoders = encoders_of(config, folders, data.parent, chosen, trust_remote_code, strings(trust, "trust"))
        if dtype not in (None, "auto"):
            encoders = encoders.placed(None, dtype_name(dtype))
        aligner = cls(heads, encoders, repeat)
        aligner._folder = own
        if heads.space is not None:
            more = heads.space.config, folders, data.parent, chosen, trust_remote_code, strings(trust, "trust")
            aligner._space = cls(heads.space, encoders_of(*more), repeat)
            aligner._space._folder = own / SPACE_FOLDER
            if dtype not in (None, "auto"):
                aligner._space._encoders = aligner._space._encoders.placed(None, dtype_name(dtype))
        aligner.prompts = strings_by_name(prompts, "prompts")
        aligner.default_prompt_name = default_prompt_name
        if default_prompt_name is not None:
            aligner._resolve_prompt(None, default_prompt_name)
        aligner.truncate_dim = None if truncate_dim is None else whole_number(truncate_dim, "truncate_dim")
        return aligner

    @property
    def embed_dim(self) -> int:
        """Width K of the shared space."""
        return self.config.embed_dim

    def embed_pictures(
        self, images: Sequence[ImageLike], batch_size: int, urls: bool = False, places: Sequence[int] | None = None
    ) -> np.ndarray:
        """See `Encode`."""
        if (owner := self._owner("image")) is not self:
            return owner.embed_pictures(images, batch_size, urls, places)
        features = self._encoders.image_features(images, batch_size, urls=urls, places=places)
        return np.concatenate([embed_images(self._heads, batch) for batch in features])

    def embed_sentences(self, texts: Sequence[str], batch_size: int) -> np.ndarray:
        """See `Encode`."""
        if (owner := self._owner("text")) is not self:
            return owner.embed_sentences(texts, batch_size)
        return self._heads.embed_text(self._encoders.text_features(texts, batch_size, self.config.text_tokens))

    @own_arithmetic()
    def preprocess(self, image: ImageLike) -> torch.Tensor:
        """A picture as `encode_pixels` takes it, (3, H, W) float32, for a data loader; errors as `encode_image`."""
        return self._owner("image")._encoders.preprocess(image)

    @own_arithmetic()
    def encode_pixels(self, pixels: torch.Tensor) -> np.ndarray:
        """Unit vectors (N, K) float32 of prepared pictures (N, 3, H, W), in one batch; errors as `encode_image`.

        Raises:
            DataError: another shape than stacked outputs of `preprocess`, or none of them.
        """
        owner = self._owner("image")
        return embed_images(owner._heads, owner._encoders.pixel_features(pixels))

    @overload  # a str is one path, never a sequence of them
    def classify(  # type: ignore[overload-overlap]
        self, images: ImageLike, names: Iterable[str], templates: Sequence[str] = ..., *, top: int | None = ...
    ) -> list[Label]: ...

    @overload
    def classify(
        self,
        images: Sequence[ImageLike],
        names: Iterable[str],
        templates: Sequence[str] = ...,
        *,
        top: int | None = ...,
    ) -> list[list[Label]]: ...

    @own_arithmetic()
    def classify(
        self,
        images: ImageLike | Sequence[ImageLike],
        names: Iterable[str],
        templates: Sequence[str] = TEMPLATES,
        *,
        top: int | None = None,
    ) -> list[Label] | list[list[Label]]:
        """Classes with probabilities, best first: one list for one picture, a list of lists for a list of them.

        A probability is the softmax over `names` of logit_scale times cosine, as in the training loss.

        Args:
            names: class names, such as ["cat", "dog"].
            templates: each with one {} for the name; a class is the mean over them, brought to unit length.
            top: how many classes to give; all where None.

        Raises:
            DataError: no or repeated names, a template without {}, and as `encode_image`.

        The vectors of the classes are kept for the next call with the same names and templates.
        """
        return labelled(
            images,
            names,
            top,
            classes=lambda listed: self._classifier(listed, templates),
            embed=lambda pictures: self.embed_pictures(pictures, 32),
            logit_scale=self._owner("image")._heads.logit_scale,
        )

    @own_arithmetic()
    def search(
        self,
        store: Searched | Sequence[Searched],
        query: Query,
        k: int = 10,
        *,
        add: Sequence[Query] = (),
        subtract: Sequence[Query] = (),
        among: Iterable[str] | None = None,
        where: Where | None = None,
    ) -> list[Hit]:
        """The rows of a feature store nearest to a query, best first, at most `k`.

        Args:
            store: a feature store, or its folder, of one of the aligner's views; of a fused view a list with the store
                of each view that it joins. Rows pass through the heads alone, in blocks; those that could not be
                encoded are left out. Vectors are kept for the next query, 256 MiB of them at most.
            query: a text (str), a picture (PIL image or `Path`), or a sound (`Path`, or samples with their rate).
            add, subtract: further texts, pictures and sounds, whose vectors are added to the query's or taken off.
            among: ids of rows that may be found; all where None.
            where: by column of the index, such as {"category": ["animals", "plants"], "language": "en"}, values of
                which a row must have one.

        Raises:
            StoreError: the store does not exist.
            FingerprintMismatch: it holds features of another encoder or view.
            DataError, CheckpointError: as `encode_image`; or nothing is left of the query.
        """
        k = whole_number(k, "k")
        require_query(query)
        owner, opened = self.rows_of(store)
        blocks = self.stored_vectors(opened)
        vector = combined_query(self._query, query, add, subtract)
        rows = store_filter(opened, owner.config.modality(store_side(opened, owner.config)), among, where)
        if int(opened.valid.sum()) * self.config.embed_dim * 4 <= _MOST_ROWS:
            blocks = iter(self._kept_rows.get(opened.opened, lambda: list(blocks)))
        return best_rows(opened.ids, blocks, vector, k, rows)

    def stored_vectors(self, store: RowsById) -> Iterator[Block]:
        """Positions and unit vectors (n, K) float32 of the rows of a store, block by block; errors as `search`."""
        owner, store = self.rows_of(store)
        embed = embed_stored_images if store_side(store, owner.config) == "image" else embed_stored_texts
        return embedded_rows(store, partial(embed, owner._heads, store))

    @own_arithmetic()
    def segment(
        self,
        image: ImageLike,
        names: Iterable[str],
        templates: Sequence[str] = TEMPLATES,
        *,
        resolution: int | None = None,
        dense_head: str | Path | None = None,
    ) -> np.ndarray:
        """The class of every pixel, (height, width) int64: its place in `names`.

        Patch tokens go through the local projector alone, or through a dense head fitted for it; their cosines with
        the classes are interpolated bilinearly to pixels. Projectors are not trained for this: expect coarse regions.

        Args:
            resolution: side in pixels of what the encoder sees, a multiple of its patch size; the view's where None.
            dense_head: folder of a dense head, such as data/dense/vit.

        Raises:
            DataError, CheckpointError, FingerprintMismatch: as `classify`.
            ModelError: the dense head does not exist.
        """
        if isinstance(owner := self._owner("image"), Aligner) and owner is not self:
            return owner.segment(image, names, templates, resolution=resolution, dense_head=dense_head)
        if resolution is not None:
            resolution = whole_number(resolution, "resolution")
        (picture,) = image_list([image])
        if dense_head is None:
            classes = self._classifier(names, templates)
            return segment_image(self._encoders, self._heads.embed_patches, picture, classes, resolution)
        folder = user_path(dense_head, "the folder of a dense head", ModelError)
        dense = DenseHead.from_folder(folder.name, self.repeat, folder.parent)
        dense.require_encoders_of(self.config, f"{folder}, for aligner {self.config.aligner!r},")

        def embed(texts: Sequence[str]) -> np.ndarray:
            return dense.embed_text(self._encoders.text_features(texts, 64).tokens[:, 0].numpy())

        written = tuple(sorted((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in folder.resolve().rglob("*")))
        classes = self._classifier(names, templates, embed, written)
        return segment_image(self._encoders, dense.embed_patches, picture, classes, resolution)

    def __repr__(self) -> str:
        return f"Aligner({self.config.aligner!r}, repeat={self.repeat}, embed_dim={self.config.embed_dim})"

    def _classes(self, names: Iterable[str], templates: Sequence[str]) -> np.ndarray:
        return self._classifier(names, templates)

    def _classifier(
        self,
        names: Iterable[str],
        templates: Sequence[str],
        embed: Callable[[Sequence[str]], np.ndarray] | None = None,
        head: Hashable = None,
    ) -> np.ndarray:
        """Class vectors, kept by names, templates and the head that embeds them: its files, where it is a dense one."""
        listed = class_list(names)

        def embed_all(texts: Sequence[str]) -> np.ndarray:
            return self.embed_sentences(text_list(texts), 64)

        key = tuple(listed), template_list(templates), head
        return self._kept_classes.get(key, lambda: named_classes(listed, templates, embed or embed_all))
