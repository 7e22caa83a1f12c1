"""Training an aligner: every repeat, and what is written about it."""

import logging

import torch

from pipeline.alignment.closed_form.aligner import fit_aligner
from pipeline.alignment.data.load import load_alignment_data
from pipeline.alignment.heads import parameter_count
from pipeline.alignment.saved import HeadConfig, save_heads
from pipeline.alignment.training.curves import curves
from pipeline.alignment.training.members import Member, members_of
from pipeline.alignment.training.records import EpochRecord
from pipeline.alignment.training.resume import Checkpoint, forget, training_folder
from pipeline.alignment.training.summary import chosen, summary
from pipeline.alignment.training.trainer import train_members
from pipeline.alignment.untrained import record_identity
from pipeline.config import AlignerSpec, TrainParams
from pipeline.device import choose_device
from pipeline.files import write_json
from pipeline.paths import MODELS

log = logging.getLogger(__name__)

CURVES_FILE = "curves.csv"
MEMBERS_FILE = "members.csv"
METRICS_FILE = "metrics.json"


def train_aligner(name: str, spec: AlignerSpec, params: TrainParams, repeats: int, seed: int) -> HeadConfig:
    """Train the aligner `name` once per split and write data/models/<name>.

    With head `identity` nothing is trained, and no weights are written (see `record_identity`); with head `closed` they
    are computed (see `fit_aligner`). Keys that the aligner's own `train` changes are changed in `params`.

    Repeat i is initialised with seed `seed * repeats + i`, as its split was drawn. Written are curves.csv (a line per
    epoch, as it ends), repeat_<i>/heads.safetensors, metrics.json and, last, config.json. Of several members, one is
    kept; all are in metrics.json and, as they go, in members.csv. A run that was killed goes on where it stopped.

    Raises:
        DataError, StoreError, FingerprintMismatch: as `load_alignment_data` and `record_identity`.
        ModelError: training diverged, or the member to keep did.
        ConfigError: a captured step is asked for without a GPU.
    """
    if spec.head == "identity":
        return record_identity(name, spec, repeats)
    if spec.head == "closed":
        return fit_aligner(name, spec, params, repeats, seed)
    params = params.changed(spec.train)
    data = load_alignment_data(name, spec, repeats, torch.device(choose_device(params.device)), params)
    text_dim = data.features.texts.width
    folder = MODELS / name
    folder.mkdir(parents=True, exist_ok=True)
    kept_at = training_folder(spec, params, data, seed) if params.checkpoint_seconds else None
    trained = []
    with curves(folder / (MEMBERS_FILE if params.members else CURVES_FILE)) as write:

        def report(member: Member, record: EpochRecord) -> None:
            write(record, **({"member": member.name} if params.members else {}))

        for repeat in range(repeats):
            trained.append(
                train_members(
                    data,
                    members_of(params, seed, repeats, repeat),
                    spec=spec,
                    repeat=repeat,
                    seed=seed * repeats + repeat,
                    on_record=report,
                    checkpoint=Checkpoint(kept_at / f"{repeat}.safetensors", params.checkpoint_seconds)
                    if kept_at
                    else None,
                )
            )
            for result in trained[-1]:
                log.info(
                    "%s repeat %d%s: validation R@1 %.4f at epoch %d, %.1f s",
                    name, repeat, f" {result.member.name}" if params.members else "", result.val_recall,
                    result.best_epoch, result.seconds,
                )  # fmt: skip
    results = chosen(params, trained)
    if params.members:
        log.info("%s: member %s is kept (train.member: %s)", name, results[0].member.name, params.member)
        with curves(folder / CURVES_FILE) as write:
            for record in (record for result in results for record in result.history):
                write(record)
    for repeat, result in enumerate(results):
        save_heads(result.head, folder, repeat)
    write_json(summary(results, trained, [len(pairs) for pairs in data.train]), folder / METRICS_FILE)
    config = HeadConfig.of(
        name,
        spec,
        data.features.images.width,
        text_dim,
        embed_dim=spec.embed_dim or text_dim,
        fingerprints=data.fingerprints,
        data=data.datasets,
        repeats=repeats,
        seeds=tuple(result.seed for result in results),
        best_epochs=tuple(result.best_epoch for result in results),
        parameters=parameter_count(results[0].head),
    )
    config.write(folder)
    if kept_at:
        forget(kept_at)
    return config
