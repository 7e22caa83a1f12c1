"""Fitting an aligner: load, fit by the kind of its head, save; one path for trained, computed and identity heads."""

import hashlib
import itertools
import logging
from typing import Any

import numpy as np
import torch

from pipeline.alignment.artefact import FittedHeads
from pipeline.alignment.closed_form.repeats import compute_heads
from pipeline.alignment.data.load import AlignmentData, load_alignment_data
from pipeline.alignment.processes import ALONE, Processes, device_of, joined
from pipeline.alignment.saved import HEAD_CHOICE, VIEWS_CHOICE, HeadConfig, head_entry, save_heads
from pipeline.alignment.shared_space import SharedSpace, open_shared_space
from pipeline.alignment.standing import copy_space, require_texts_of, standing_spaces
from pipeline.alignment.training.repeats import train_heads
from pipeline.alignment.training.resume import forget
from pipeline.config import TRAINED, AutoHead, ClosedFormHead, FittedHead, IdentityHead, LoadingParams, TrainSettings
from pipeline.files import write_json
from pipeline.launched import launched, require_alone
from pipeline.paths import MODELS
from pipeline.similarity.auto import with_chosen_views

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.json"


def fit_aligner(settings: TrainSettings) -> HeadConfig:
    """Fit an aligner once per split and write data/models/<name>.

    Writes curves.csv (as training goes), repeat_<i>/heads.safetensors, metrics.json and, last, config.json; of head
    identity, which has no weights, the latter two alone.

    Processes that torchrun started train one head together; the first of them writes.

    Raises:
        DataError, StoreError, FingerprintMismatch: as `with_chosen_views`, `load_alignment_data`, `open_shared_space`.
        ModelError: training diverged, or the member to keep did.
        ConfigError: a captured step is asked for without a GPU; several processes were started for what one does, or
            not as they need it.
        ProcessError: the other processes cannot be reached.
    """
    fit, views = with_chosen_views(settings.name, settings.fit)
    chosen = {} if views is None else {VIEWS_CHOICE: views}
    settings = settings.model_copy(update={"fit": fit})
    name, head = settings.name, fit.head
    launch = launched()
    if not isinstance(head, TRAINED):
        require_alone(
            f"{name!r}, a head {head.kind},",
            f"it {'may be' if isinstance(head, AutoHead) else 'is'} computed, not trained",
        )
    if isinstance(head, IdentityHead):
        space = open_shared_space(name, fit)
        return _save(settings, space, _no_heads(space), chosen)
    loading = settings.loading if settings.train is None else settings.train
    assert loading is not None, "fitted heads have parameters of loading"
    device = device_of(launch, loading.device)
    with joined(launch, device) as processes:
        return _fit(settings, loading, device, chosen, processes)


def _fit(
    settings: TrainSettings,
    loading: LoadingParams,
    device: torch.device,
    chosen: dict[str, dict[str, Any]],
    processes: Processes,
) -> HeadConfig:
    """Fit a head with weights, in every process alike, and save it from the first."""
    name, fit = settings.name, settings.fit
    head, folder = fit.head, MODELS / name
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type  # which decides what is drawn
    processes.require_same(
        f"{settings.model_dump_json()} {torch.__version__} {kind}".encode(), "Parameters, torch or GPU"
    )
    standing = standing_spaces(name, fit, settings.repeats, device)
    data = load_alignment_data(name, fit, settings.repeats, device, loading, processes, standing)
    if standing:
        require_texts_of(fit, data.fingerprints["text"], name)
    if processes.several:
        processes.require_same(_identity(data), "Pairs or features")
    space = SharedSpace(
        {"image": data.features.images.width, "text": data.features.texts.width}, data.fingerprints, data.datasets
    )
    if processes.first:
        folder.mkdir(parents=True, exist_ok=True)
    if isinstance(head, AutoHead):
        head, took = _taken(name, head, data)
        chosen |= took
    if isinstance(head, ClosedFormHead):
        fitted = compute_heads(name, head, data, settings.repeats, settings.seed, folder)
        return _save(settings, space, fitted, chosen)
    assert isinstance(head, TRAINED)
    assert settings.train is not None, "trained heads have parameters of training"
    fitted, checkpoints = train_heads(name, head, settings.train, data, settings.repeats, settings.seed, folder)
    config = _save(settings, space, fitted, chosen, processes)
    if checkpoints is not None:
        forget(checkpoints)
    return config


def _save(
    settings: TrainSettings,
    space: SharedSpace,
    fitted: FittedHeads,
    chosen: dict[str, dict[str, Any]],
    processes: Processes = ALONE,
) -> HeadConfig:
    """Write everything but the curves, from the first process; the config is last, as the mark of a whole aligner."""
    folder, space_of = MODELS / settings.name, settings.fit.space
    if processes.first:
        if space_of is not None:
            copy_space(space_of, folder)
        for repeat, head in enumerate(fitted.heads):
            save_heads(head, folder, repeat)
        write_json(fitted.metrics, folder / METRICS_FILE)
    config = HeadConfig(
        aligner=settings.name,
        head=head_entry(settings.fit.head),
        views={"image": settings.fit.image, "text": settings.fit.text},
        widths=space.widths,
        embed_dim=fitted.embed_dim,
        fingerprints=space.fingerprints,
        data=space.datasets,
        repeats=settings.repeats,
        seeds=fitted.seeds,
        best_epochs=fitted.best_epochs,
        parameters=fitted.parameters,
        kept=fitted.kept,
        choices=fitted.choices | chosen,
        fusions={side: view.model_dump(mode="json") for side, view in settings.fit.fusions.items()},
        kinds=settings.fit.kinds,
        space=space_of or "",
    )
    if processes.first:
        config.write(folder)
    return config


def _taken(name: str, head: AutoHead, data: AlignmentData) -> tuple[FittedHead, dict[str, dict[str, Any]]]:
    """The head that the pairs of the smallest train split choose, and what is recorded of that; crops count too."""
    pairs = min(map(len, data.train))
    features = data.features.images.width + data.features.texts.width
    took = head.taken(pairs, features)
    one: FittedHead = head.computed if took == "computed" else head.trained
    limit = head.trained_from(features)
    log.info("%s takes its %s head, %s: %d training pairs, trained from %d on", name, took, one.kind, pairs, limit)
    return one, {HEAD_CHOICE: {"took": took, "kind": one.kind, "training_pairs": pairs, "trained_from": limit}}


def _no_heads(space: SharedSpace) -> FittedHeads:
    nothing: dict[str, Any] = {
        "validation_recall": None,
        "seconds": 0.0,
        "samples_seen": 0,
        "parameters": 0,
        "kept": 0,
        "repeats": {},
    }
    return FittedHeads((), space.widths["image"], nothing)


def _identity(data: AlignmentData) -> bytes:
    """What several processes must have in common of their data."""
    digest = hashlib.sha256()
    for side in sorted(data.fingerprints):
        digest.update(str(data.fingerprints[side].get("digest")).encode())
    for pairs in itertools.chain(data.train, data.validation):
        digest.update(np.ascontiguousarray(pairs.cpu().numpy()).data)
    return digest.digest()
