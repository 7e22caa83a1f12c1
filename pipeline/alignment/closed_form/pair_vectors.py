"""Training pairs as two vectors each, block by block in the order of the store: what closed forms are fitted on.

Shapes: b pairs of a block, X and Y the widths of image and text vectors.
"""

from collections.abc import Iterator
from contextlib import closing

import torch
from torch import Tensor

from pipeline.alignment.data.batches import AlignerFeatures
from pipeline.alignment.heads.vectors import image_vector, text_vector
from pipeline.config import ImageVector
from pipeline.features.ahead import ahead

_BLOCKS_AHEAD = 2


def pair_vectors(
    features: AlignerFeatures, pairs: Tensor, kind: ImageVector, block: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Image vectors (b, X) and text vectors (b, Y), float32 on the device, of all pairs (P, 2) in their order.

    Streamed pairs are in reading order, so that this is one pass over the store; the next blocks are read ahead.
    """

    def read() -> Iterator[tuple[Tensor, Tensor]]:
        for part in torch.split(pairs, block):
            yield image_vector(features.images.read(part[:, 0]), kind), text_vector(features.texts.read(part[:, 1]))

    with closing(ahead(read(), _BLOCKS_AHEAD)) as blocks:
        yield from blocks


def sample_pairs(pairs: Tensor, most: int) -> Tensor:
    """At most `most` of the pairs (P, 2), evenly spaced."""
    if len(pairs) <= most:
        return pairs
    return pairs[torch.arange(most, device=pairs.device) * len(pairs) // most]
