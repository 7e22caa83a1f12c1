"""Encode one data set through one view: python -m stages.encode +item=STORE"""

import logging

from pipeline.config import EncodeSettings
from pipeline.encoders.manifest import read_manifest
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.modalities import plan_and_loader
from pipeline.encoding.run import StoreEncoder
from pipeline.features.objects.stage import publish_at, take_published
from pipeline.paths import checkpoint_folder, encode_stage, index_folder, store_folder
from stages.entry import run

log = logging.getLogger(__name__)


def encode(settings: EncodeSettings) -> None:
    """Write data/features/<group>/<view>/<dataset>; of a store with a `url`, what stands for the one that is there."""
    item, store = settings.name, settings.store
    checkpoint = checkpoint_folder(store.encoder)
    out = store_folder(store.group, store.view, store.dataset)
    plan, load = plan_and_loader(settings, checkpoint, index_folder(store.group, store.dataset))
    fingerprint = fingerprint_of(read_manifest(checkpoint), settings.encoder, settings.view)
    if store.url is not None and take_published(out, store.url, fingerprint, plan.ids):
        return
    job = StoreEncoder(item, fingerprint, load, settings.encode.max_failure_rate)
    done = job.run(plan, out, encode_stage(store.group, item))
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
    if store.url is not None:
        publish_at(out, store.url)


if __name__ == "__main__":
    run(encode)
