"""Segmented scenes to look at: their true and their predicted classes."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from pipeline.config import ClassificationSet
from pipeline.datasets.scenes import Scenes
from pipeline.evaluation.examples import choose, image_reference
from pipeline.evaluation.scenes import GROUP
from pipeline.evaluation.targets import Classes, HeldOutPixels

VOID = 255  # the grey of pixels that do not count


def segmentation_examples(
    name: str,
    scenes: Scenes,
    task: ClassificationSet,
    test: HeldOutPixels,
    predicted: np.ndarray,
    classes: Classes,
    count: int,
) -> list[dict[str, Any]]:
    """Scenes chosen by hash, half of them above the median accuracy, with true and predicted classes as pictures.

    Args:
        test: the test pixels of one repeat; predicted: (n,), their predicted classes.
        count: how many scenes.
    """
    truth = classes.of_value[test.values]
    numbers = np.unique(test.scenes)
    accuracy = np.array([(truth == predicted)[test.scenes == number].mean() for number in numbers])
    examples = []
    for place in choose(scenes.ids[numbers], accuracy >= np.median(accuracy), count):
        inside = test.scenes == numbers[place]
        shown, codes = np.unique(np.stack([truth[inside], predicted[inside]]), return_inverse=True)
        if len(shown) >= VOID:
            continue  # cannot be told apart in 8 bits
        codes = codes.reshape(2, -1)
        where = (test.rows[inside], test.columns[inside])
        examples.append(
            {
                "scene": image_reference(name, scenes.ids[numbers[place]], GROUP),
                "dataset": task.dataset,
                "label": task.label,
                "classes": {str(code): classes.names[number] for code, number in enumerate(shown.tolist())},
                "truth": _picture(scenes.instances.shape[1:], where, codes[0]),
                "predicted": _picture(scenes.instances.shape[1:], where, codes[1]),
                "pixel_accuracy": round(float(accuracy[place]), 6),
            }
        )
    return examples


def _picture(shape: tuple[int, ...], where: tuple[np.ndarray, np.ndarray], codes: np.ndarray) -> str:
    """Base64 of an 8-bit grey PNG: the code of each pixel, 255 where it is void."""
    canvas = np.full(shape, VOID, dtype=np.uint8)
    canvas[where] = codes
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
