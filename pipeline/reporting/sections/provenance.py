"""How to read the page, and what it was made from."""

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from markupsafe import Markup

from pipeline import __version__
from pipeline.reporting.blocks import Block, Bullets, Code, Content, Folded, Section, Table
from pipeline.reporting.inputs import Node
from pipeline.reporting.run_data import RunData

_LIBRARIES = ("torch", "transformers", "timm", "sentence-transformers", "dvc", "zarr", "numpy", "pillow", "scipy")
_READING = (
    "Test concepts are held out: no head saw a picture or a caption of their family. Each repeat draws another split.",
    "Chance is what random scores would give. The control has an image encoder of the same shape with random weights: "
    "what is not above it was not learned by the backbone.",
    "Intervals are 95 % percentile intervals of a bootstrap that resamples concept families, because pictures of one "
    "concept are not independent. Whether two aligners differ is judged by the paired difference, not by whether two "
    "intervals overlap. There are many comparisons on this page and no correction for their number.",
    "Filled dots are differences whose interval excludes zero; hollow ones are not established.",
    "Scenes are composed of cut-outs by this project. They are labelled so wherever they are shown.",
    "Every number in a table carries the file and the place it was read from in its attribute data-source.",
)


def provenance(run: RunData) -> Section:
    """Reading aid, sources and licences of the pictures, parameters, versions, digests of the files read."""
    blocks: list[Block] = [Bullets(_READING)]
    if run.sources:
        blocks.append(_sources(run))
    blocks.append(Folded("Versions of the libraries that wrote this page", [_versions()]))
    files = _files(run)
    blocks.append(Folded(f"The {len(files)} files that the numbers were read from", [_digests(files)]))
    if run.params_text:
        blocks.append(Folded("params.yaml", [Code(run.params_text, "params.yaml")]))
    return Section("provenance", "How to read this page, and what it is made from", "How to read", blocks)


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
    caption = "Where the pictures and names come from, with their licences; thumbnails on this page are theirs."
    return Table(caption, "data/index/pairs/*/about.json", ["data set", "packages", "state"], rows)


def _versions() -> Table:
    rows: list[list[Content]] = [["permafrost", __version__]]
    for name in _LIBRARIES:
        try:
            rows.append([name, version(name)])
        except PackageNotFoundError:
            rows.append([name, "not installed"])
    return Table("As installed where the page was written.", "the environment", ["library", "version"], rows)


def _files(run: RunData) -> list[Path]:
    nodes: list[Node | None] = [run.similarity, run.toy, run.costs]
    for group in (run.results, run.examples, run.coverage, run.models, run.sources):
        nodes += group.values()
    return sorted({node.file for node in nodes if node is not None})


def _digests(files: list[Path]) -> Table:
    rows: list[list[Content]] = [
        [path.as_posix(), Markup("<code>{}</code>").format(hashlib.sha256(path.read_bytes()).hexdigest()[:16])]
        for path in files
    ]
    return Table("First 16 digits of the SHA-256 of each.", "the files themselves", ["file", "SHA-256"], rows)
