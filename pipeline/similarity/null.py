"""Linear CKA and mutual-kNN of every pair of candidates under every permutation of the texts, without measuring anew.

Both are inner products of an (N, N) matrix of images with one of texts, in which a permutation moves rows and columns
together. CKA needs the U-centred matrix of one side alone, since the centring of the other falls out of the product.
The (N, N) matrix of one text space at a time is held as float32, and images are read in blocks of rows: 67 MB at 4,096
samples, whatever the number of candidates.

Shapes: N samples, P permutations, I image candidates, T text candidates, k neighbours.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array, csr_array

from pipeline.similarity.spaces import mean_row

_CELLS_AT_ONCE = 1 << 22


def cka_null(images: Sequence[np.ndarray], texts: Sequence[np.ndarray], orders_PN: np.ndarray) -> np.ndarray:
    """Unbiased linear CKA under every permutation, (P, I, T) float64; float32 products are exact enough here.

    Args:
        images, texts: features (N, D) of each candidate, not constant.
        orders_PN: (P, N) int64: sample i gets the text of sample order[i].
    """
    n = orders_PN.shape[1]
    centred = [_centred(image) for image in images]
    norms = [float(np.linalg.norm(_u_centred(image))) for image in centred]
    values = np.zeros((len(orders_PN), len(images), len(texts)))
    step = max(1, _CELLS_AT_ONCE // (n * len(images)))
    for column, text in enumerate(texts):
        text_NN = _u_centred(_centred(text))
        for start in range(0, n, step):
            rows = slice(start, min(n, start + step))
            stacked = np.stack([(image[rows] @ image.T).ravel() for image in centred])
            for number, order in enumerate(orders_PN):
                values[number, :, column] += stacked @ text_NN[order[rows]][:, order].ravel()
        values[:, :, column] /= np.array(norms) * float(np.linalg.norm(text_NN))
    return values


def knn_null(images: Sequence[csr_array], texts: Sequence[csr_array], k: int, orders_PN: np.ndarray) -> np.ndarray:
    """mutual-kNN under every permutation, (P, I, T) float64.

    Args:
        images, texts: `neighbour_weights` (N, N) of each candidate.
        orders_PN: as for `cka_null`.
    """
    n = orders_PN.shape[1]
    places = np.argsort(orders_PN, axis=1)  # where the text of a sample goes
    entries = [coo_array(text) for text in texts]
    values = np.empty((len(orders_PN), len(images), len(texts)))
    for row, image in enumerate(images):
        dense_NN = image.toarray().astype(np.float32)
        for column, text in enumerate(entries):
            first, second = text.coords
            for number, place in enumerate(places):
                values[number, row, column] = dense_NN[place[first], place[second]] @ text.data / (n * k)
    return values


def _centred(x_ND: np.ndarray) -> np.ndarray:
    """Centred and of mean square 1, (N, D) float32; scale falls out of CKA."""
    centred = x_ND.astype(np.float64) - mean_row(x_ND)
    return np.asarray(centred / np.sqrt((centred**2).mean()), dtype=np.float32)


def _u_centred(x_ND: np.ndarray) -> np.ndarray:
    """The U-centred Gram matrix (Szekely and Rizzo 2014) of centred features, (N, N) float32.

    Zero diagonal, rows and columns that sum to zero. Without its diagonal d, row i of the Gram matrix of centred
    features sums to -d_i.
    """
    n = len(x_ND)
    centred_NN = x_ND @ x_ND.T
    d = np.diag(centred_NN).astype(np.float64)
    centred_NN += (d / (n - 2)).astype(np.float32)[:, None]
    centred_NN += (d / (n - 2) - d.sum() / ((n - 1) * (n - 2))).astype(np.float32)[None, :]
    np.fill_diagonal(centred_NN, 0.0)
    return np.asarray(centred_NN)
