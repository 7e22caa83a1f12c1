"""How to read the page, and what it was made of."""

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from markupsafe import Markup

from pipeline import __version__
from pipeline.reporting.blocks import Block, Bullets, Code, Content, Folded, Section, Table
from pipeline.reporting.run_data import RunData

_LIBRARIES = ("torch", "transformers", "timm", "sentence-transformers", "dvc", "zarr", "numpy", "pillow", "scipy")
_READING = (
    "Test concepts are held out: no head saw a sample or a caption of their family. Each repeat draws another split.",
    "Chance is the value of random scores.",
    "Intervals are 95 % percentile intervals of a bootstrap that resamples concept families, because samples of "
    "one concept are not independent. Whether two aligners differ is decided by their paired difference, not by "
    "whether two intervals overlap. Where repeats differ by more than their families explain, that is part of the "
    "intervals.",
    "A difference is established if its interval excludes zero and the interval of the better one lies beyond chance: "
    "what is at chance beats nothing. Verdicts on headline figures are also corrected for the number of their "
    "comparisons (Holm), other ones are not. Filled dots are established differences, hollow dots are not.",
    "The most frequent class is what stands beside chance where classes are unequal; the mean per class is led with.",
    "Every number in a table carries the file and the place it was read from in its attribute data-source.",
)
_CONTROL = (
    "The control of an aligner is the same but for one encoder, that of images or of another modality beside texts, "
    "which has random weights: what does not exceed it is not due to what that encoder has learned. Where a control "
    "differs in more, the task says in what."
)
_SCENES = "Scenes are composed of cut-outs by this project, and labelled as composed wherever they are shown."


def provenance(run: RunData) -> Section:
    """How to read the page; sources and licences of the images; versions, digests of the files, parameters."""
    notes = [*_READING]
    if run.settings.controls:
        notes.insert(2, _CONTROL)
    if run.settings.scenes:
        notes.insert(-1, _SCENES)
    blocks: list[Block] = [Bullets(notes)]
    if run.sources:
        blocks.append(_sources(run))
    blocks.append(Folded("Versions of the libraries that wrote this page", [_versions()]))
    files = run.files()
    blocks.append(Folded(f"The {len(files)} files the numbers come from", [_digests(files)]))
    if run.params_text:
        blocks.append(Folded("params.yaml", [Code(run.params_text, "params.yaml")]))
    return Section("provenance", "How to read this page, and what it is made of", "How to read", blocks)


def _sources(run: RunData) -> Table:
    rows: list[list[Content]] = []
    for name, about in run.sources.items():
        packages = about.get("packages")
        listed = [
            f"{package} {entry.optional('version')} ({entry.optional('licence') or 'licence not recorded'})"
            for package, entry in (packages.entries() if packages is not None else [])
        ]
        reason = about.optional("reason")
        rows.append([name, Markup("<br>").join(listed) or about.optional("source") or "–", reason or "available"])
    caption = "Where samples and names come from. What this page shows of them is under the same licences."
    return Table(caption, "data/index/pairs/*/about.json", ["data set", "packages", "state"], rows)


def _versions() -> Table:
    rows: list[list[Content]] = [["permafrost", __version__]]
    for name in _LIBRARIES:
        try:
            rows.append([name, version(name)])
        except PackageNotFoundError:
            rows.append([name, "not installed"])
    return Table("As installed where the page was written.", "the environment", ["library", "version"], rows)


def _digests(files: list[Path]) -> Table:
    rows: list[list[Content]] = [
        [path.as_posix(), Markup("<code>{}</code>").format(hashlib.sha256(path.read_bytes()).hexdigest()[:16])]
        for path in files
    ]
    return Table("First 16 digits of the SHA-256 of each.", "the files themselves", ["file", "SHA-256"], rows)
