"""Numbers of params.yaml that are each within bounds and together more than a machine holds."""

from collections.abc import Iterator

from pipeline.config.params import Params
from pipeline.config.views import ImageView

MOST_PIXELS = 2**32  # of a batch: 48 GiB of float32 values in three channels


def size_problems(params: Params) -> Iterator[str]:
    """A line for each view whose batches of pictures fit into no memory."""
    batch = params.encode.batch_size
    if batch == "auto":
        return
    for name in dict.fromkeys(store.view for store in params.stores.by_name().values()):
        view = params.views.get(name)
        if not isinstance(view, ImageView):
            continue
        pixels = batch * (1 + view.crops) * view.resolution**2
        if pixels > MOST_PIXELS:
            crops = f" and {view.crops} crops of each" * bool(view.crops)
            yield (
                f"`encode.batch_size` is {batch}, and view {name!r} has a resolution of {view.resolution}{crops}: a "
                f"batch would hold {pixels:.3g} pixels, and {MOST_PIXELS:.3g} are the most. Lower one of them, or set "
                "`encode.batch_size: auto`."
            )
