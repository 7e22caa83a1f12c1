"""What is to be segmented: the pixels of held-out objects in composed scenes, and the classes they may have."""

from dataclasses import dataclass

import numpy as np

from pipeline.config import ClassificationSet
from pipeline.datasets.prompts import ENGLISH, NAME_OF
from pipeline.datasets.sample_table import SampleTable
from pipeline.datasets.scenes import Scenes
from pipeline.errors import DataError
from pipeline.evaluation.prompts import PromptTable


@dataclass(frozen=True)
class HeldOutPixels:
    """The pixels that count in one repeat, (n,) int64 each.

    Attributes:
        scenes, rows, columns: where a pixel is.
        values: its true value, by position in `Targets.values`.
        families: its concept family, by position in `Targets.families`.
        objects: how many objects they belong to.
    """

    scenes: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    families: np.ndarray
    objects: int


@dataclass(frozen=True)
class Classes:
    """The classes to tell pixels apart by.

    Attributes:
        names: of each class; the first of those values that share prompts and so are one class.
        prompts: text ids of each class.
        of_value: (V,) int64, the class of each value.
    """

    names: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    of_value: np.ndarray


@dataclass(frozen=True)
class Targets:
    """The objects of one data set in all scenes, with one label.

    Attributes:
        values: (V,) str, sorted: every value of the label in the data set that has a name, whether in a scene or not.
        families: (F,) str, sorted: families with a test pixel in some repeat.
        unnamed: how many objects would be held out, but their value has no name and so no prompt.
    """

    task: ClassificationSet
    values: np.ndarray
    families: np.ndarray
    unnamed: int
    _scenes: Scenes
    _numbers: tuple[np.ndarray, np.ndarray, np.ndarray]  # scene, instance, value of each labelled object
    _family_number: np.ndarray  # position in `families`
    _held_out: np.ndarray  # (objects, repeats) bool

    @classmethod
    def of(
        cls, scenes: Scenes, usable: np.ndarray, task: ClassificationSet, repeats: int, held_out: str = "test"
    ) -> "Targets":
        """The labelled objects of `task` in the usable scenes; those in the split `held_out` are to be segmented.

        Raises:
            DataError: a scene holds a picture that data/splits does not name.
        """
        samples = SampleTable.read(dict.fromkeys((task.label, NAME_OF[task.label], "family")), repeats)
        value = samples.columns[task.label]
        with_name = (samples.dataset == task.dataset) & (samples.columns[NAME_OF[task.label]].codes >= 0)
        named = value[with_name].distinct()
        values = np.unique(np.array(named, dtype=str))
        objects = [o for o in scenes.objects if o.dataset == task.dataset and usable[o.scene]]
        rows = samples.find(task.dataset, [o.piece_id for o in objects])
        lacking = [o.piece_id for o, row in zip(objects, rows.tolist(), strict=True) if row < 0]
        if lacking:
            raise DataError(
                f"Scenes are composed of {len(lacking)} pictures of {task.dataset} that data/splits does not name, the "
                f"first {lacking[0]!r}. Bring scenes and splits together with: dvc repro"
            )
        has_name = np.isin(value.codes[rows], [value.code(name) for name in named])
        held_out_somewhere = (samples.splits[rows] == held_out).any(axis=1)
        unnamed = int(((value.codes[rows] >= 0) & ~has_name & held_out_somewhere).sum())
        labelled = [o for o, one in zip(objects, has_name.tolist(), strict=True) if one]
        rows = rows[has_name]
        family = samples.columns["family"][rows].astype(str)
        numbers = (
            np.array([o.scene for o in labelled], dtype=np.int64),
            np.array([o.instance for o in labelled], dtype=np.int64),
            np.searchsorted(values, value[rows].astype(values.dtype)),
        )
        tested = held_out_somewhere[has_name] & (np.array([o.pixels for o in labelled], dtype=np.int64) > 0)
        families = np.unique(family[tested])
        held = np.searchsorted(families, family), samples.splits[rows] == held_out
        return cls(task, values, families, unnamed, scenes, numbers, *held)

    def tests(self) -> dict[int, HeldOutPixels]:
        """The held-out pixels of each repeat that has any."""
        pixels: dict[int, HeldOutPixels] = {}
        scenes, rows, columns = self._scenes.instances.nonzero()
        instances = self._scenes.instances[scenes, rows, columns]
        for repeat in range(self._held_out.shape[1]):
            chosen = np.flatnonzero(self._held_out[:, repeat])
            object_at = np.full((len(self._scenes), 256), -1, dtype=np.int32)
            object_at[self._numbers[0][chosen], self._numbers[1][chosen]] = chosen
            owners = object_at[scenes, instances]
            kept = np.flatnonzero(owners >= 0)
            if kept.size:
                owners = owners[kept]
                pixels[repeat] = HeldOutPixels(
                    scenes=scenes[kept],
                    rows=rows[kept],
                    columns=columns[kept],
                    values=self._numbers[2][owners],
                    families=self._family_number[owners],
                    objects=len(np.unique(owners)),
                )
        return pixels

    def classes(self, table: PromptTable, prompt_set: str, language: str = ENGLISH) -> Classes:
        """The classes: every value of the label, those with identical prompts being one.

        Raises:
            DataError: a value has no prompt in that set and language.
        """
        texts = table.texts(self.task.dataset, self.task.label, self.values.tolist(), prompt_set, language)
        prompts = tuple(dict.fromkeys(texts))
        number = {ids: place for place, ids in enumerate(prompts)}
        names = tuple(str(self.values[texts.index(ids)]) for ids in prompts)
        return Classes(names, prompts, np.array([number[ids] for ids in texts], dtype=np.int64))
