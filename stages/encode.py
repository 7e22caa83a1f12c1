"""Encode one data set through one view: python -m stages.encode +item=STORE"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import EncodeSettings, ImageView
from pipeline.encoders.manifest import read_manifest
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.plan import image_plan, text_plan
from pipeline.encoding.recover import recover_previous
from pipeline.encoding.run import StoreEncoder
from pipeline.paths import checkpoint_folder, encode_stage, index_folder, store_folder
from stages.entry import run

if TYPE_CHECKING:
    from pipeline.encoding.protocol import RowEncoder

log = logging.getLogger(__name__)


def encode(settings: EncodeSettings) -> None:
    """Write data/features/<group>/<view>/<dataset>."""
    item, store, view, encoder, params = (
        settings.name, settings.store, settings.view, settings.encoder, settings.encode
    )  # fmt: skip
    checkpoint = checkpoint_folder(store.encoder)
    index = index_folder(store.group, store.dataset)
    out = store_folder(store.group, store.view, store.dataset)

    strings: dict[str, str] = {}
    if isinstance(view, ImageView):
        plan = image_plan(index, params.shard_rows)
    else:
        plan, strings = text_plan(index, view.only, params.shard_rows)

    def load() -> "RowEncoder":
        from pipeline.encoding.load import image_rows, text_rows

        if isinstance(view, ImageView):
            return image_rows(checkpoint, encoder, view, index, params)
        return text_rows(checkpoint, encoder, view, strings, params)

    fingerprint = fingerprint_of(read_manifest(checkpoint), encoder, view)
    job = StoreEncoder(item, fingerprint, load, params.max_failure_rate)
    recovered = recover_previous(encode_stage(store.group, item), Path(out), job.scratch, fingerprint)
    if recovered:
        log.info("%s: %d shards restored from the DVC cache", item, recovered)
    done = job.run(plan, out)
    log.info(
        "%s: %d rows (%d encoded in %d passes, %d known, %d failed), %.1f MB, %.1f s",
        item,
        done.rows,
        done.encoded,
        done.passes,
        done.rows - done.encoded,
        done.failed,
        done.bytes / 1e6,
        done.seconds,
    )


if __name__ == "__main__":
    run(encode)
