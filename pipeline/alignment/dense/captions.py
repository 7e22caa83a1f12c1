"""Which patches of a picture a caption is about, found without masks: matching in turn with ridge regression.

A picture has several captions, one for each of its objects, and nothing says where these are. At first a caption owns
all of the foreground. Then, in turn, ridge regression learns to tell captions from the tokens that they own, and each
caption takes the patches that fit it better than they fit the other captions. This is multiple-instance learning with
soft assignments (expectation and maximisation), every step in closed form; patches are weighted by their similarity to
a caption in PACL (Mukhoti et al., CVPR 2023) and, by heads, in Talk2DINO (Barsellotti et al. 2024, arXiv 2411.19331).

Shapes: N pictures, P patches of each, D the width of a patch token; n captions in all, T the width of their embeddings,
K the most captions of one picture.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.alignment.closed_form.linear import solve_lifted
from pipeline.config import CaptionHeadSpec

_PICTURES = 64  # that are matched at once
_LITTLE = 1e-12  # weight of the other patches, so that every caption owns something
_BINS = 64
_ALIKE = 0.1  # temperature of affinities


@dataclass(frozen=True)
class _Captions:
    """Captions by picture: `place` (N, K) int64 are their rows, `own` (N, K) bool says where there is one."""

    place: Tensor
    own: Tensor

    @classmethod
    def of(cls, picture_n: np.ndarray, pictures: int) -> "_Captions":
        rows = [np.flatnonzero(picture_n == picture) for picture in range(pictures)]
        place = np.full((pictures, max(map(len, rows))), -1)
        for row, found in zip(place, rows, strict=True):
            row[: len(found)] = found
        return cls(torch.from_numpy(np.maximum(place, 0)), torch.from_numpy(place >= 0))


def caption_regions(
    patch_NPD: np.ndarray, grid: tuple[int, int], texts_nT: np.ndarray, picture_n: np.ndarray, how: CaptionHeadSpec
) -> np.ndarray:
    """The mean patch token of what each caption is about, (n, D) float32, each patch weighted by how well it fits.

    Args:
        patch_NPD: tokens of the pictures, any float dtype.
        grid: rows and columns of patches.
        texts_nT: unit sentence embeddings of the captions.
        picture_n: int64, the picture of each caption; every picture has one.
        how: `iterations`, `temperature`, `matching` and `directions` of the alternation.
    """
    patch = torch.from_numpy(patch_NPD).float()
    captions = _Captions.of(picture_n, len(patch))
    texts = principal(torch.from_numpy(texts_nT).float(), how.directions)
    seen, alike = foreground(patch, grid).float(), affinities(patch)
    weights = seen[:, None].expand(-1, captions.own.shape[1], -1) + _LITTLE
    for _ in range(how.iterations):
        tokens = _owned(patch, weights, captions)
        weights = _matched(patch, alike, seen, tokens, texts, captions, how)
    return _owned(patch, weights, captions).numpy()


def foreground(patch_NPD: Tensor, grid: tuple[int, int]) -> Tensor:
    """Which patches are unlike the border of their picture, (N, P) bool.

    Cosine to the mean token at the border, all tokens centred, cut per picture where Otsu (1979) would. It takes for
    granted that most of the border is background.
    """
    rows, columns = grid
    edge = torch.zeros(rows, columns, dtype=torch.bool)
    edge[[0, -1]], edge[:, [0, -1]] = True, True
    centred = patch_NPD - patch_NPD.mean(dim=(0, 1))
    border_ND = F.normalize(centred[:, edge.flatten()].mean(dim=1), dim=-1)
    cosine_NP = torch.einsum("npd,nd->np", F.normalize(centred, dim=-1), border_ND)
    cuts = torch.tensor([otsu(of_picture) for of_picture in cosine_NP.numpy()], dtype=cosine_NP.dtype)
    return cosine_NP < cuts[:, None]


def otsu(values: np.ndarray) -> float:
    """The cut of values (n,) into two groups with the most variance between them; the largest if all agree."""
    counts, edges = np.histogram(values, _BINS)
    centres = (edges[1:] + edges[:-1]) / 2
    below, sum_below = np.cumsum(counts)[:-1], np.cumsum(counts * centres)[:-1]
    above = len(values) - below
    parted = (below > 0) & (above > 0)
    if not parted.any():
        return float(values.max())
    means = sum_below / np.maximum(below, 1), ((counts * centres).sum() - sum_below) / np.maximum(above, 1)
    between = np.where(parted, below * above * (means[0] - means[1]) ** 2, -1.0)
    return float(edges[1:-1][between.argmax()])


def affinities(patch_NPD: Tensor) -> Tensor:
    """How much each patch of a picture counts for each, (N, P, P), rows that sum to 1: a softmax of cosines.

    Cosines are of tokens centred over all pictures. Scores that are averaged so take an object as a whole, as in
    ProxyCLIP (Lan et al., ECCV 2024), where a frozen encoder lends its affinities.
    """
    unit_NPD = F.normalize(patch_NPD - patch_NPD.mean(dim=(0, 1)), dim=-1)
    return (unit_NPD @ unit_NPD.transpose(1, 2) / _ALIKE).softmax(dim=-1)


def principal(x_nT: Tensor, directions: int) -> Tensor:
    """Centred rows in their leading principal directions, (n, M) with M at most `directions`."""
    centred = x_nT - x_nT.mean(dim=0)
    _, vectors = torch.linalg.eigh((centred.T @ centred).double())
    rotated: Tensor = centred @ vectors[:, -directions:].to(centred.dtype)
    return rotated


def _owned(patch_NPD: Tensor, weights_NKP: Tensor, captions: _Captions) -> Tensor:
    """The weighted mean token of each caption, (n, D)."""
    shares = weights_NKP / weights_NKP.sum(dim=-1, keepdim=True)
    tokens = torch.empty(int(captions.own.sum()), patch_NPD.shape[-1])
    tokens[captions.place[captions.own]] = (shares @ patch_NPD)[captions.own]
    return tokens


def _matched(
    patch_NPD: Tensor,
    alike_NPP: Tensor,
    seen_NP: Tensor,
    tokens_nD: Tensor,
    texts_nM: Tensor,
    captions: _Captions,
    how: CaptionHeadSpec,
) -> Tensor:
    """Weights (N, K, P) of the patches of each caption: the share of a patch that falls to the caption among those of
    its picture, times the share of the caption that falls to the patch among those of the picture."""
    mean = tokens_nD.mean(dim=0)
    centred = (tokens_nD - mean).double()
    gram = centred.T @ centred
    lift = how.matching * gram.diagonal().mean()
    weight_DM = solve_lifted(gram, centred.T @ texts_nM.double(), lift).float()
    wanted_NKM = F.normalize(texts_nM, dim=-1)[captions.place]
    parts = []
    for chosen in torch.split(torch.arange(len(patch_NPD)), _PICTURES):
        found_NPM = F.normalize((patch_NPD[chosen] - mean) @ weight_DM, dim=-1)
        cosine_NPK = alike_NPP[chosen] @ (found_NPM @ wanted_NKM[chosen].transpose(1, 2))
        logits_NKP = cosine_NPK.transpose(1, 2) / how.temperature
        logits_NKP = logits_NKP.masked_fill(~captions.own[chosen][..., None], -torch.inf)
        of_patch, of_caption = logits_NKP.softmax(dim=1), logits_NKP.nan_to_num(neginf=0.0).softmax(dim=2)
        parts.append(of_patch * of_caption * seen_NP[chosen, None] + _LITTLE)
    return torch.cat(parts)
