"""What is encoded and how, by the modality of a view: the rows of a data set in order, and what encodes them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from pipeline.config import AnyView, EncodeSettings, FurtherView, ImageView, TextView
from pipeline.datasets.tables import read_pieces
from pipeline.encoders.imported import IMPORTED
from pipeline.encoders.manifest import read_manifest
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.imported import ImportedRows
from pipeline.encoding.plan import Plan, further_plan, image_plan, text_plan
from pipeline.encoding.protocol import RowEncoder
from pipeline.encoding.texts import StoredTexts
from pipeline.features import Fingerprint
from pipeline.ids import Ids
from pipeline.paths import checkpoint_folder, index_folder


@dataclass(frozen=True)
class EncodeJob:
    """What encoding one store starts from; small, and good on every machine that has the project's folder.

    Attributes:
        settings: of the stage.
        checkpoint, index: folders of the encoder and of the data set.
    """

    settings: EncodeSettings
    checkpoint: Path
    index: Path

    @classmethod
    def of(cls, settings: EncodeSettings) -> "EncodeJob":
        """The job of a stage, in the folders of the project."""
        store = settings.store
        return cls(settings, checkpoint_folder(store.encoder), index_folder(store.group, store.dataset))

    def fingerprint(self) -> Fingerprint:
        """Of the features.

        Raises:
            CheckpointError: the checkpoint is missing or damaged.
        """
        return fingerprint_of(read_manifest(self.checkpoint), self.settings.encoder, self.settings.view)

    def plan_and_loader(self) -> tuple[Plan, Callable[[], RowEncoder]]:
        """As the function of that name."""
        return plan_and_loader(self.settings, self.checkpoint, self.index)

    def changed(self, **params: object) -> "EncodeJob":
        """The same with some of `EncodeParams` changed."""
        encode = self.settings.encode.model_copy(update=params)
        return replace(self, settings=self.settings.model_copy(update={"encode": encode}))


def plan_and_loader(settings: EncodeSettings, checkpoint: Path, index: Path) -> tuple[Plan, Callable[[], RowEncoder]]:
    """The rows of `index` that the view takes, and a function that loads their encoder, which many runs do without.

    Raises:
        DataError: a table of the index is missing or damaged.
    """
    view, encoder, params = settings.view, settings.encoder, settings.encode
    if encoder.loader == IMPORTED:
        plan, keys = _plan_and_names(view, index, params.shard_rows)
        return plan, lambda: ImportedRows(checkpoint, view, keys)
    if isinstance(view, ImageView):

        def load_images() -> RowEncoder:
            from pipeline.encoding.load import image_rows

            return image_rows(checkpoint, encoder, view, index, params)

        return image_plan(index, params.shard_rows), load_images
    if isinstance(view, FurtherView):

        def load_further() -> RowEncoder:
            from pipeline.encoding.load import further_rows

            return further_rows(checkpoint, encoder, view, index, params)

        return further_plan(index, view, params.shard_rows), load_further
    plan, strings = text_plan(index, view.only, params.shard_rows)

    def load_texts() -> RowEncoder:
        from pipeline.encoding.load import text_rows

        return text_rows(checkpoint, encoder, view, strings, params)

    return plan, load_texts


def _plan_and_names(view: AnyView, index: Path, shard_rows: int) -> tuple[Plan, Mapping[str, str]]:
    """The rows, and of images the name that their source gives them."""
    if isinstance(view, TextView):
        return text_plan(index, view.only, shard_rows)[0], {}
    ids, keys, named = [], [], [np.empty(0, dtype=bool)]
    for piece in read_pieces(index / "images.parquet", ["image_id", "key"]):
        ids.append(Ids.of(piece.column("image_id")))
        keys.append(piece.column("key"))
        named.append(pc.fill_null(pc.not_equal(keys[-1], ""), False).to_numpy())
    every = Ids.joined(ids)
    return Plan(every, shard_rows), StoredTexts(every, keys, np.flatnonzero(np.concatenate(named)))
