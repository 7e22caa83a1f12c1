"""Encode one data set through one view: python -m stages.encode +item=STORE [+part=3/64]"""

import logging
from contextlib import AbstractContextManager, nullcontext

from pipeline.config import EncodeSettings
from pipeline.encoding.engine import Engine
from pipeline.encoding.modalities import EncodeJob
from pipeline.encoding.parts import Part
from pipeline.encoding.run import StoreEncoder
from pipeline.features.objects.stage import publish_at, take_published
from pipeline.paths import encode_stage, store_folder
from stages.entry import run

log = logging.getLogger(__name__)


def encode(settings: EncodeSettings, part: object = None) -> None:
    """Write data/features/<group>/<view>/<dataset>, or a part of its shards.

    Of a store with a `url` what is written there stands for the one that is at the address.
    """
    share = None if part is None else Part.parse(part)
    item, store = settings.name, settings.store
    job = EncodeJob.of(settings)
    plan, load = job.plan_and_loader()
    fingerprint = job.fingerprint()
    out, stage = store_folder(store.group, store.view, store.dataset), encode_stage(store.group, item)
    if store.url is not None and take_published(out, store.url, fingerprint, plan.ids):
        return
    with engine_of(job) as engine:
        encoder = StoreEncoder(item, fingerprint, load, settings.encode.max_failure_rate, engine)
        done = encoder.run(plan, out, stage, share)
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
    if store.url is not None and (share is None or done.published):
        publish_at(out, store.url)


def engine_of(job: EncodeJob) -> AbstractContextManager[Engine | None]:
    """What runs the shards of a job, None for this process."""
    if job.settings.encode.engine == "local":
        return nullcontext()
    from pipeline.encoding.ray_engine import RayEngine

    return RayEngine(job)


if __name__ == "__main__":
    run(encode, in_parts=True)
