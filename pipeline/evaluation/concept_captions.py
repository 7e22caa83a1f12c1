"""The captions of concepts that name the classes of the task multilingual, gathered without an object per row."""

import numpy as np

from pipeline.datasets.caption_pairs import CaptionPairs
from pipeline.evaluation.zero_shot import LabelledImages
from pipeline.row_map import RowMap

MOST_CAPTIONS = 100  # of a concept in a language, of which its class is made


class ConceptCaptions:
    """Captions by concept, of the concepts that are tested in some repeat.

    Args:
        labelled: n images with their concepts.
        tested: (n, R) bool, the images that are classified in each repeat.
    """

    def __init__(self, labelled: LabelledImages, tested: np.ndarray) -> None:
        self.labelled, self.tested = labelled, tested
        self._row_of = RowMap(labelled.ids.ids())
        self._wanted = np.zeros(len(labelled.values.values), dtype=bool)
        self._wanted[labelled.values.codes[tested.any(axis=1)]] = True

    def of(self, pairs: CaptionPairs) -> tuple[dict[str, tuple[str, ...]], int]:
        """The ids of the captions of each concept, in sorted order, the first `MOST_CAPTIONS` of them.

        Returns:
            Them by concept, and how many concepts have more. Concepts without a caption are absent.
        """
        row = self._row_of.find(pairs.image_id.values)[pairs.image_id.codes]
        known = np.flatnonzero(row >= 0)
        concept = self.labelled.values.codes[row[known]]
        wanted = self._wanted[concept]
        concept, text = concept[wanted], pairs.text_id.codes[known[wanted]]
        used, place = np.unique(text, return_inverse=True)
        ids = pairs.text_id.values.take(used)
        rank = np.empty(len(used), np.int64)
        rank[ids.in_order()] = np.arange(len(used))
        order = np.lexsort((rank[place], concept))
        concept, place = concept[order], place[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (concept[1:] != concept[:-1]) | (place[1:] != place[:-1])
        concept, place = concept[new], place[new]
        starts = np.flatnonzero(np.diff(concept, prepend=-1))
        counts = np.diff(np.append(starts, len(concept)))
        found = {
            name: tuple(ids.take(place[start : start + min(count, MOST_CAPTIONS)]))
            for name, start, count in zip(
                self.labelled.values.values.take(concept[starts]), starts.tolist(), counts.tolist(), strict=True
            )
        }
        return found, int(np.count_nonzero(counts > MOST_CAPTIONS))

    def tested_concepts(self) -> dict[str, str]:
        """The concept of each image that is tested in some repeat, by its id."""
        rows = np.flatnonzero(self.tested.any(axis=1))
        return dict(zip(self.labelled.ids[rows].tolist(), self.labelled.values[rows].tolist(), strict=True))
