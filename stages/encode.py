"""Encode one data set through one view: python -m stages.encode +item=STORE [+part=3/64]"""

import logging

from pipeline.config import EncodeSettings
from pipeline.encoders.manifest import read_manifest
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.modalities import plan_and_loader
from pipeline.encoding.parts import Part
from pipeline.encoding.run import StoreEncoder
from pipeline.paths import checkpoint_folder, encode_stage, index_folder, store_folder
from stages.entry import run

log = logging.getLogger(__name__)


def encode(settings: EncodeSettings, part: object = None) -> None:
    """Write data/features/<group>/<view>/<dataset>, or a part of its shards."""
    share = None if part is None else Part.parse(part)
    item, store = settings.name, settings.store
    checkpoint = checkpoint_folder(store.encoder)
    out = store_folder(store.group, store.view, store.dataset)
    plan, load = plan_and_loader(settings, checkpoint, index_folder(store.group, store.dataset))
    fingerprint = fingerprint_of(read_manifest(checkpoint), settings.encoder, settings.view)
    job = StoreEncoder(item, fingerprint, load, settings.encode.max_failure_rate)
    done = job.run(plan, out, encode_stage(store.group, item), share)
    log.info(
        "%s: %d rows (%d encoded in %d passes, %d known, %d failed), %.1f MB, %.1f s%s",
        item if share is None else f"{item} part {share}",
        done.rows,
        done.encoded,
        done.passes,
        done.rows - done.encoded,
        done.failed,
        done.bytes / 1e6,
        done.seconds,
        "" if share is None else ", the store is whole" if done.published else ", other parts are not finished",
    )


if __name__ == "__main__":
    run(encode, in_parts=True)
