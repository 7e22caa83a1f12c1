"""Segmentation of composed scenes, and of data sets with label maps."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from pipeline.errors import DataError
from pipeline.reporting.blocks import Card, Gallery, Picture, Section
from pipeline.reporting.inputs import Node
from pipeline.reporting.numbers import FORMATS
from pipeline.reporting.pictures import class_map, data_uri
from pipeline.reporting.run_data import RunData
from pipeline.reporting.sections.task import task_section

VOID = 255
_PALETTE = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c6bb1", "#b3a100", "#7f3b08", "#35978f"),
    *("#f768a1", "#4d4d4d"),
)  # Okabe and Ito (2008), continued
_OTHER = "#9aa4ae"
_OPACITY = 0.72
_INTRO = (
    "These scenes are composed, not photographs: cut-outs laid on plain backgrounds by this project, with exact masks."
)


def segmentation(run: RunData, task: str) -> Section:
    """Composed scenes, with ground truth and prediction of some of them."""
    return task_section(run, task, intro=_INTRO, galleries=_galleries)


def benchmarks(run: RunData, task: str) -> Section:
    """Data sets with label maps."""
    return task_section(run, task)


def _galleries(examples: Sequence[Node], run: RunData) -> list[Gallery]:
    cards = [_card(node, run) for node in examples]
    return [Gallery("Composed scenes: ground truth and prediction", cards, wide=True)]


def _card(node: Node, run: RunData) -> Card:
    scene = run.library.image(node["scene"])
    truth, predicted = class_map(node["truth"]), class_map(node["predicted"])
    names = {int(key): value.text() for key, value in node["classes"].entries()}
    for picture, key in ((truth, "truth"), (predicted, "predicted")):
        if picture.size != truth.size:
            raise DataError(f"{node[key].source} is {picture.size} px, expected {truth.size} px. Run: dvc repro")
    colours = _colours([np.asarray(truth), np.asarray(predicted)])
    label = node["label"].text()
    accuracy = FORMATS["percent1"](node["pixel_accuracy"].number())
    pictures = [
        Picture(data_uri(scene), "Composed scene", "composed scene", large=True),
        Picture(
            _overlay(scene, truth, colours),
            f"Composed scene, ground truth {label} of each pixel",
            "ground truth, composed scene",
            large=True,
        ),
        Picture(
            _overlay(scene, predicted, colours),
            f"Composed scene, predicted {label} of each pixel",
            "prediction, composed scene",
            large=True,
        ),
    ]
    legend = [(colour, names.get(index, f"class {index}")) for index, colour in colours.items() if colour != _OTHER]
    if any(colour == _OTHER for colour in colours.values()):
        legend.append((_OTHER, "other classes"))
    note = f"by {label} · {accuracy} % of the test objects' pixels are correct; faded: not tested"
    return Card("Composed scene", note, pictures=pictures, legend=legend)


def _colours(maps: list[np.ndarray]) -> dict[int, str]:
    """A colour for each class: those of the truth first, then by pixels; classes beyond the palette share one."""
    ordered: list[int] = []
    for classes in maps:
        values, counts = np.unique(classes[classes != VOID], return_counts=True)
        ordered += [int(v) for v in values[np.argsort(-counts, kind="stable")] if int(v) not in ordered]
    return {index: _PALETTE[place] if place < len(_PALETTE) else _OTHER for place, index in enumerate(ordered)}


def _overlay(scene: Image.Image, classes: Image.Image, colours: dict[int, str]) -> str:
    """The scene in pale grey with the classes laid over it, as a data URI."""
    index = np.asarray(classes.resize(scene.size, Image.Resampling.NEAREST))
    table = np.zeros((256, 3), dtype=np.float64)
    for value, colour in colours.items():
        table[value] = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    grey = np.asarray(scene.convert("L"), dtype=np.float64)[..., None].repeat(3, axis=2)
    pale = 255 - (255 - grey) * 0.35
    mixed = np.where((index == VOID)[..., None], pale, _OPACITY * table[index] + (1 - _OPACITY) * grey)
    return data_uri(Image.fromarray(np.clip(mixed.round(), 0, 255).astype(np.uint8)))
