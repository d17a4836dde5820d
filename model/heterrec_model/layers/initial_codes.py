"""Initial tables of embedding features: each code starts near the vectors that it stands for.

Shapes: Z groups (or levels), C codes per group, M dimensions of a group (of a whole vector for levels).
"""

from statistics import NormalDist

import torch
from torch import Tensor

from heterrec_schemas import Generation
from heterrec_schemas.codebooks import Book
from heterrec_schemas.feature_spec import QuantileEmbedding


def code_vectors(generation: Generation, name: str) -> Tensor:
    """The vector of each code of an embedding feature, without the mean of its group: [Z, C, M].

    These are the centres of quantile bins (`bin_centres`), or the centroids of codebooks (`centroids`).
    """
    feature = generation.feature(name)
    if isinstance(feature, QuantileEmbedding):
        return bin_centres(torch.from_numpy(generation.quantizers(name).copy()), feature.groups)
    books = generation.codebooks(name)
    return centroids(books, generation.feature(name).fitted_fields(0)["codes"])


def bin_centres(edges_QD: Tensor, groups: int) -> Tensor:
    """The centres of the bins of each code of quantile tokens: [Z, q**M, M].

    Each dimension is assumed to be normal, with a standard deviation fitted to its edges (1 if it has a single edge).
    Centres are the expected values of the normal inside the bins, without the mean.
    """
    q, dim = len(edges_QD) + 1, edges_QD.shape[1]
    dims = dim // groups
    normal = NormalDist()
    cuts = [normal.inv_cdf(i / q) for i in range(1, q)]
    heights = [0.0, *(normal.pdf(c) for c in cuts), 0.0]
    centres_q = torch.tensor([(heights[i] - heights[i + 1]) * q for i in range(q)])
    spread_D = torch.ones(dim)
    if q > 2:
        cuts_q = torch.tensor(cuts)[:, None]
        spread_D = (edges_QD * cuts_q).sum(0) / (cuts_q * cuts_q).sum()
    codes = torch.arange(q**dims)
    bins = torch.stack([(codes // q**j) % q for j in range(dims)], dim=1)
    return centres_q[bins][None] * spread_D.view(groups, 1, dims)


def centroids(books: list[Book], codes: int) -> Tensor:
    """The centroids of codebooks without their mean: [Z, codes, M]; zero where a codebook has no such code."""
    vectors_ZCM = torch.zeros(len(books), codes, books[0].shape[1])
    for vectors_CM, book in zip(vectors_ZCM, books, strict=True):
        known = torch.from_numpy(book.copy())
        vectors_CM[: len(book)] = known - known.mean(0)
    return vectors_ZCM


def initial_weights(vectors_ZCM: Tensor, size: int, width: int, std: float) -> Tensor:
    """Initial weights of group tables: [Z, size, width].

    The vectors of a group are projected to `width` by a random matrix unless M is `width`, and all are scaled to the
    standard deviation `std`. Ids without a code (padding, missing) are zero.
    """
    groups, codes, dims = vectors_ZCM.shape
    values = vectors_ZCM
    if width != dims:
        values = values @ torch.randn(groups, dims, width)
    weight = torch.zeros(groups, size, width)
    weight[:, size - codes :] = values * (std / values.std().clamp(min=1e-12))
    return weight
