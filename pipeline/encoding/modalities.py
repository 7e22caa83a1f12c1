"""What is encoded and how, by the modality of a view: the rows of a data set in order, and what encodes them."""

from collections.abc import Callable
from pathlib import Path

from pipeline.config import EncodeSettings, ImageView
from pipeline.encoding.plan import Plan, image_plan, text_plan
from pipeline.encoding.protocol import RowEncoder


def plan_and_loader(settings: EncodeSettings, checkpoint: Path, index: Path) -> tuple[Plan, Callable[[], RowEncoder]]:
    """The rows of `index` that the view takes, and a function that loads their encoder, which many runs do without.

    Raises:
        DataError: a table of the index is missing or damaged.
    """
    view, encoder, params = settings.view, settings.encoder, settings.encode
    if isinstance(view, ImageView):

        def load_images() -> RowEncoder:
            from pipeline.encoding.load import image_rows

            return image_rows(checkpoint, encoder, view, index, params)

        return image_plan(index, params.shard_rows), load_images
    plan, strings = text_plan(index, view.only, params.shard_rows)

    def load_texts() -> RowEncoder:
        from pipeline.encoding.load import text_rows

        return text_rows(checkpoint, encoder, view, strings, params)

    return plan, load_texts
