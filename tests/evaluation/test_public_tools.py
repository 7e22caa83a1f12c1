"""On the same embeddings, our figures are those of CLIP_benchmark, of torchmetrics and of plain loops."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.alignment.zero_shot import class_vectors
from pipeline.evaluation.metrics import first_hit_ranks, hits_at
from pipeline.evaluation.overlap import count_overlap, mean_iou, mean_iou_of_all
from pipeline.interop.clip_benchmark import benchmark_command

WIDTH, CLASSES, IMAGES, TEMPLATES = 16, 23, 300, 5


class PassThrough:
    """A model whose inputs are embeddings already; texts are numbers of rows."""

    def __init__(self, texts: np.ndarray) -> None:
        self._texts = torch.from_numpy(texts)

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def encode_text(self, rows: torch.Tensor) -> torch.Tensor:
        return self._texts[rows]


def tokenizer(texts: list[str]) -> torch.Tensor:
    return torch.tensor([int(text) for text in texts])


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Batches:
    """A data loader as CLIP_benchmark wants one."""

    def __init__(self, items: list[tuple[torch.Tensor, object]], classes: int = 0) -> None:
        self._items, self.dataset = items, SimpleNamespace(classes=[str(number) for number in range(classes)])

    def __iter__(self) -> Iterator[tuple[torch.Tensor, object]]:
        return iter(self._items)


@pytest.fixture(scope="module")
def metrics() -> SimpleNamespace:
    """CLIP_benchmark's modules of metrics."""
    command = benchmark_command()
    return SimpleNamespace(zero_shot=command.zeroshot_classification, retrieval=command.zeroshot_retrieval)


@pytest.mark.parametrize("seed", range(3))
def test_zero_shot_classification(metrics: SimpleNamespace, seed: int) -> None:
    texts = drawn(seed, CLASSES * TEMPLATES, WIDTH)
    right = np.random.default_rng(seed).integers(0, CLASSES, IMAGES)
    classes = np.repeat(np.arange(CLASSES), TEMPLATES)
    images = drawn(seed + 10, IMAGES, WIDTH) + 0.5 * texts.reshape(CLASSES, TEMPLATES, WIDTH).mean(axis=1)[right]
    batches = [
        (torch.from_numpy(images[start : start + 64]), torch.from_numpy(right[start : start + 64]))
        for start in range(0, IMAGES, 64)
    ]
    prompts = {str(c): [str(c * TEMPLATES + t) for t in range(TEMPLATES)] for c in range(CLASSES)}
    theirs = metrics.zero_shot.evaluate(
        PassThrough(texts), Batches(batches, CLASSES), tokenizer, list(prompts), prompts, "cpu", amp=False
    )
    classifier = class_vectors(unit(texts), classes)
    expected = metrics.zero_shot.zero_shot_classifier(
        PassThrough(texts), tokenizer, list(prompts), prompts, "cpu", amp=False
    )
    np.testing.assert_allclose(classifier.T, expected.numpy(), atol=1e-6)
    ranks = first_hit_ranks(unit(images), classifier, np.stack([np.arange(IMAGES), right], axis=1))
    per_class = [hits_at(ranks[right == c], 1).mean() for c in np.unique(right)]
    assert 1 / CLASSES < theirs["acc1"] < 1
    assert hits_at(ranks, 1).mean() == pytest.approx(theirs["acc1"], abs=1e-9)
    assert hits_at(ranks, 5).mean() == pytest.approx(theirs["acc5"], abs=1e-9)
    assert np.mean(per_class) == pytest.approx(theirs["mean_per_class_recall"], abs=1e-9)


def captioned(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, captions and (P, 2) pairs: one to five captions an image, as in COCO and with gaps."""
    generator = np.random.default_rng(seed)
    owners = np.repeat(np.arange(60), generator.integers(1, 6, 60))
    images = drawn(seed, 60, WIDTH)
    captions = drawn(seed + 5, len(owners), WIDTH) + 0.7 * images[owners]
    return unit(images), unit(captions), np.stack([owners, np.arange(len(owners))], axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_retrieval_with_several_captions(metrics: SimpleNamespace, seed: int) -> None:
    images, captions, pairs = captioned(seed)
    batches = []
    for start in range(0, 60, 16):
        inside = range(start, min(60, start + 16))
        named = [[str(text) for image, text in pairs.tolist() if image == number] for number in inside]
        batches.append((torch.from_numpy(images[start : start + 16]), named))
    found = metrics.retrieval.evaluate(
        PassThrough(captions), Batches(batches), tokenizer, "cpu", amp=False, recall_k_list=[1, 5, 10]
    )
    ours = {}
    for name, ranks in (
        ("text_retrieval", first_hit_ranks(images, captions, pairs)),
        ("image_retrieval", first_hit_ranks(captions, images, pairs[:, ::-1])),
    ):
        ours |= {f"{name}_recall@{k}": hits_at(ranks, k).mean() for k in (1, 5, 10)}
    assert found == pytest.approx(ours, abs=1e-6)
    assert 0.1 < ours["image_retrieval_recall@1"] < 0.9


def brute_force(queries: np.ndarray, candidates: np.ndarray, right: list[set[int]]) -> list[int]:
    ranks = []
    for query, own in zip(queries, right, strict=True):
        scores = [float(query @ candidate) for candidate in candidates]
        best = max(scores[place] for place in own)
        ranks.append(1 + sum(score >= best for place, score in enumerate(scores) if place not in own))
    return ranks


def test_ranks_are_those_of_plain_loops() -> None:
    images, captions, pairs = captioned(7)
    of_image = [{text for image, text in pairs.tolist() if image == number} for number in range(60)]
    of_text = [{image} for image, _ in pairs.tolist()]
    assert first_hit_ranks(images, captions, pairs).tolist() == brute_force(images, captions, of_image)
    assert first_hit_ranks(captions, images, pairs[:, ::-1]).tolist() == brute_force(captions, images, of_text)


def test_ties_are_where_we_differ(metrics: SimpleNamespace) -> None:
    """A model that says the same of everything is right by luck there, and never here."""
    images = np.ones((CLASSES, WIDTH), dtype=np.float32)
    right = torch.arange(CLASSES)
    (theirs,) = metrics.zero_shot.accuracy(torch.from_numpy(images @ images.T), right, topk=(1,))
    ranks = first_hit_ranks(images, images, np.stack([np.arange(CLASSES)] * 2, axis=1))
    assert theirs == pytest.approx(1 / CLASSES)
    assert hits_at(ranks, CLASSES - 1).sum() == 0


@pytest.fixture(scope="module")
def jaccard() -> Callable[..., torch.Tensor]:
    from pipeline.torchvision_fix import ensure_torchvision

    ensure_torchvision()
    from torchmetrics.functional.classification import multiclass_jaccard_index

    found: Callable[..., torch.Tensor] = multiclass_jaccard_index
    return found


@pytest.mark.parametrize("absent", [False, True])
def test_miou(jaccard: Callable[..., torch.Tensor], absent: bool) -> None:
    """Pixels of all pictures together, void ones (255) in no count; the mean over classes that have true pixels."""
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 6 - absent, size=(4, 20, 20))
    predicted = np.where(generator.random(truth.shape) < 0.6, truth, generator.integers(0, 6, size=truth.shape))
    truth[generator.random(truth.shape) < 0.1] = 255
    counted = truth != 255
    families = np.zeros(int(counted.sum()), dtype=np.int64)
    hits, true, taken = count_overlap(families, truth[counted], predicted[counted], (1, 6))
    each = jaccard(
        torch.from_numpy(predicted), torch.from_numpy(truth), num_classes=6, average="none", ignore_index=255
    )
    present = np.isin(np.arange(6), truth)
    assert present.sum() == 6 - absent
    assert mean_iou(hits, true, taken)[0] == pytest.approx(float(each.numpy()[present].mean()), abs=1e-6)


@pytest.mark.parametrize("absent", [0, 2])
def test_miou_of_all(jaccard: Callable[..., torch.Tensor], absent: int) -> None:
    """A class that is predicted and not there counts as 0, one that is neither is in no mean."""
    generator = np.random.default_rng(6)
    truth = generator.integers(0, 6 - absent, size=(4, 20, 30))
    predicted = np.where(
        generator.random(truth.shape) < 0.5, truth, generator.integers(0, 6 - absent // 2, truth.shape)
    )
    truth[generator.random(truth.shape) < 0.1] = 255
    counted = truth != 255
    one = np.zeros(int(counted.sum()), dtype=np.int64)
    counts = np.stack(count_overlap(one, truth[counted], predicted[counted], (1, 6)))[:, 0]
    theirs = jaccard(torch.from_numpy(predicted), torch.from_numpy(truth), num_classes=6, ignore_index=255)
    assert mean_iou_of_all(*counts) == pytest.approx(float(theirs), abs=1e-6)
