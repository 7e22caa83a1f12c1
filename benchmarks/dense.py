"""Ways to segment composed scenes, chosen between on *validation* families alone.

    python benchmarks/dense.py           # in a project whose DAG has run; a minute

Each way fits what it learns on the train families of each of the five repeats, and labels the pixels of the validation
families in the composed scenes by category, as the stage `evaluate@segmentation` does with test families. Prints a
table and writes benchmarks/results/dense.json. Ratios are to the plain local projector of the same run; intervals are
bootstraps over families, paired.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.accounting.machine import describe_machine  # noqa: E402
from pipeline.alignment.dense import DenseHead, captioned_objects, training_objects  # noqa: E402
from pipeline.config import CLASSNAMES, CaptionHeadSpec, ClassificationSet, SegmentationParams, evaluated, load_config  # noqa: E402
from pipeline.datasets.caption_pairs import read_caption_pairs  # noqa: E402
from pipeline.datasets.prompts import ENGLISH  # noqa: E402
from pipeline.datasets.scenes import read_scenes  # noqa: E402
from pipeline.evaluation.dense import LocalProjector, PatchMethod  # noqa: E402
from pipeline.evaluation.embeddings import TrainedAligner  # noqa: E402
from pipeline.evaluation.overlap import OverlapBootstrap, chance_of, mean_iou, pixel_accuracy  # noqa: E402
from pipeline.evaluation.prompts import PromptTable  # noqa: E402
from pipeline.evaluation.scenes import SceneImages  # noqa: E402
from pipeline.evaluation.segmentation import label_objects, overlap_of  # noqa: E402
from pipeline.evaluation.targets import Targets  # noqa: E402
from pipeline.features.views import open_view  # noqa: E402
from pipeline.paths import index_folder  # noqa: E402

OUT = ROOT / "benchmarks" / "results" / "dense.json"
DRAWS = 2000
PLAIN = "freeze-align"  # the aligner whose local projector everything is compared with


class Way:
    """A `PatchMethod` over heads that are fitted here, one per repeat."""

    def __init__(self, aligner: TrainedAligner, name: str, heads: list[DenseHead]) -> None:
        self.aligner, self.name, self._heads = aligner, name, heads

    def patch_vectors(self, repeat: int, patch: np.ndarray, unit: bool = True) -> np.ndarray:
        return self._heads[repeat].embed_patches(patch, unit)

    def text_vectors(self, repeat: int, group: str, dataset: str, ids: np.ndarray) -> np.ndarray:
        return self._heads[repeat].embed_text(self.aligner.text_features(group, dataset, ids))

    def scale(self, repeat: int) -> float:
        return self._heads[repeat].scale


def whole_pictures(aligner: TrainedAligner, repeats: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Mean patch tokens of whole training pictures, and their captions, by repeat."""
    fit = aligner.spec.fit
    pairs = read_caption_pairs(fit.datasets, repeats)
    images, texts = open_view(fit.image, fit.datasets), open_view(fit.text, fit.datasets)
    tokens = np.empty((len(pairs), images[fit.datasets[0]].shape("mean")[-1]), np.float32)
    captions = np.empty((len(pairs), texts[fit.datasets[0]].shape("pooled")[-1]), np.float32)
    for dataset in fit.datasets:
        own = pairs.dataset == dataset
        tokens[own] = images[dataset].read("mean", pairs.image_id[own].astype(str))[:, -1]
        captions[own] = texts[dataset].read("pooled", pairs.text_id[own].astype(str))
    captions /= np.linalg.norm(captions, axis=1, keepdims=True)
    for repeat in range(repeats):
        train = pairs.splits[:, repeat] == "train"
        yield tokens[train], captions[train]


def main() -> None:
    params = load_config().params
    aligners, repeats, cpu = evaluated(params), params.splits.repeats, torch.device("cpu")
    showcase = params.evaluate.showcase or next(iter(aligners))
    spec = params.dense_heads[str(aligners[showcase].evaluation.dense_head)]
    name = PLAIN if PLAIN in aligners else showcase
    aligner = TrainedAligner(name, aligners[name], repeats, cpu)
    segmentation = params.evaluate.named["segmentation"]
    assert isinstance(segmentation, SegmentationParams)
    composed = segmentation.scenes
    objects = training_objects(spec, repeats, read_scenes(index_folder("scenes", spec.scenes)))
    everywhere = np.ones(len(objects.scenes), dtype=bool)

    def ridge(strength: float, chosen: np.ndarray = everywhere) -> list[DenseHead]:
        rows = [objects.train[:, repeat] & chosen for repeat in range(repeats)]
        return [DenseHead.fit(objects.tokens[r], objects.texts[r], strength, objects.fingerprints) for r in rows]

    told = CaptionHeadSpec(image=spec.image, text=spec.text, scenes=spec.scenes, supervision="captions")
    captioned = captioned_objects(told, repeats, read_scenes(index_folder("scenes", spec.scenes)))

    def captions(**keys: float) -> list[DenseHead]:
        some = replace(captioned, how=told.model_copy(update=keys))
        rows = [captioned.train[:, repeat] for repeat in range(repeats)]
        return [DenseHead.fit(some.regions(r), some.texts[r], told.regularisation, some.fingerprints) for r in rows]

    whole = [DenseHead.fit(*some, spec.regularisation, {}) for some in whole_pictures(aligner, repeats)]
    scenes = read_scenes(index_folder("scenes", composed))
    ways: dict[str, Callable[[], PatchMethod]] = {
        "local projector, trained on whole pictures": lambda: LocalProjector(aligner, "plain"),
        "ridge, whole training pictures": lambda: Way(aligner, "way", whole),
        "ridge 0.3, objects of a quarter of the scenes": lambda: Way(
            aligner, "way", ridge(0.3, objects.scenes % 4 == 0)
        ),
        "ridge 0.3, objects of half of the scenes": lambda: Way(aligner, "way", ridge(0.3, objects.scenes % 2 == 0)),
        **{
            f"ridge {strength:g}, objects of all training scenes": lambda s=strength: Way(aligner, "way", ridge(s))
            for strength in (0.03, 0.1, 0.3, 1.0, 3.0)
        },
        **{
            f"captions of all training scenes, {rounds} rounds": lambda n=rounds: Way(
                aligner, "way", captions(iterations=n)
            )
            for rounds in (1, told.iterations, 2 * told.iterations)
        },
        "captions, matched with little regularisation": lambda: Way(aligner, "way", captions(matching=0.01)),
        "captions, matched with more regularisation": lambda: Way(aligner, "way", captions(matching=0.1)),
    }
    images = {name: SceneImages(aligner, str(aligner.spec.evaluation.dense), composed)}
    if showcase != name:
        other = TrainedAligner(showcase, aligners[showcase], repeats, cpu)
        images[showcase] = SceneImages(other, str(other.spec.evaluation.dense), composed)
        ways[f"head of {showcase}, trained on whole pictures"] = lambda: LocalProjector(other, "other")
    task = ClassificationSet(dataset=params.scenes[composed].pieces[0], label="category")
    targets = Targets.of(scenes, images[name].servable(scenes.ids), task, repeats, "validation")
    tests = targets.tests()
    classes = targets.classes(PromptTable(CLASSNAMES), segmentation.prompt_set)
    boots = {m.__name__: OverlapBootstrap(m, targets.families, DRAWS, 0) for m in (mean_iou, pixel_accuracy)}
    located, results, plain = {}, [], None  # type: ignore[var-annotated]
    for words, make in ways.items():
        method = make()
        maps = label_objects([method], images, scenes, tests, {ENGLISH: classes}, located)[ENGLISH]
        found = overlap_of(targets.families, tests, maps[method.name], classes)
        plain = plain or found
        compared = boots["mean_iou"].compare(found, plain)
        row = {key: boot.value(found) for key, boot in boots.items()}
        row |= {"way": words, "ratio": compared.ratio, "ratio_ci": compared.ratio_interval}
        results.append(row)
        low, high = compared.ratio_interval or (float("nan"),) * 2
        figures = f"{row['mean_iou']:.4f} {row['pixel_accuracy']:.4f}"
        print(f"{words:48} {figures}  x{compared.ratio:.2f} [{low:.2f}, {high:.2f}]", flush=True)
    chance = chance_of(mean_iou, plain.truth.sum(axis=(0, 1)), len(classes.prompts)) if plain else None
    content = {"machine": describe_machine(), "split": "validation", "chance": chance, "ways": results}
    OUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
