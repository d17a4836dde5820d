"""Initial tables of embedding features, by hand."""

import math

import numpy as np
import pytest
import torch

from heterrec_model.layers.initial_codes import bin_centres, centroids, initial_weights


def test_bin_centres_of_two_quantiles_by_hand() -> None:
    # the halves of a standard normal have means -+.79788; six of them, -+x, have the standard deviation x sqrt(6/5)
    start = initial_weights(bin_centres(torch.full((1, 3), 7.0), 3), 4, 1, 0.02)
    x = 0.02 * math.sqrt(5 / 6)
    assert start.shape == (3, 4, 1)
    for group in start:
        assert group.flatten().tolist() == pytest.approx([0.0, 0.0, -x, x])


def test_bin_centres_of_two_quantiles_and_two_dimensions_a_group() -> None:
    start = initial_weights(bin_centres(torch.zeros(1, 2), 1), 6, 2, 1.0)
    x = math.sqrt(7 / 8)
    want = [[0, 0], [0, 0], [-x, -x], [x, -x], [-x, x], [x, x]]  # the first dimension turns fastest
    torch.testing.assert_close(start[0], torch.tensor(want))


def test_bin_centres_of_four_quantiles_follow_the_spread_of_the_edges() -> None:
    # of a standard normal: quartiles -.67449, 0, .67449; its quarters' means -+1.27110 and -+.32466
    quartiles = torch.tensor([-0.67449, 0.0, 0.67449])[:, None]
    spread, mean = torch.tensor([1.0, 3.0]), torch.tensor([5.0, -2.0])
    start = initial_weights(bin_centres(quartiles * spread + mean, 2), 6, 1, 1.0)
    means = torch.tensor([-1.27110, -0.32466, 0.32466, 1.27110])
    assert start.shape == (2, 6, 1)
    assert start[:, :2].abs().max() == 0
    codes = start[:, 2:, 0]
    factor = codes[0, 0] / means[0]
    torch.testing.assert_close(codes, spread[:, None] * means * factor, rtol=1e-4, atol=1e-6)
    assert float(codes.std()) == pytest.approx(1.0, rel=1e-5)


def test_wider_bin_centres_are_turned_by_one_matrix_a_group() -> None:
    torch.manual_seed(0)
    edges = torch.randn(2, 4).sort(0).values
    narrow = initial_weights(bin_centres(edges, 2), 11, 2, 1.0)
    wide = initial_weights(bin_centres(edges, 2), 11, 5, 0.1)
    assert wide.shape == (2, 11, 5)
    assert wide[:, :2].abs().max() == 0
    assert float(wide[:, 2:].std()) == pytest.approx(0.1, rel=1e-4)
    for group in range(2):
        turn = torch.linalg.lstsq(narrow[group, 2:], wide[group, 2:]).solution
        torch.testing.assert_close(narrow[group, 2:] @ turn, wide[group, 2:], rtol=1e-3, atol=1e-4)


def test_centroids_start_around_their_mean() -> None:
    books = [np.array([[1, 5], [3, 5]], np.float32), np.array([[2, 2]], np.float32)]
    found = centroids(books, 3)
    assert found.tolist() == [[[-1, 0], [1, 0], [0, 0]], [[0, 0], [0, 0], [0, 0]]]
    start = initial_weights(found, 5, 2, 0.1)
    assert start[0, :2].abs().max() == start[0, 4].abs().max() == 0, "ids without a centroid"
    assert start[0, 2].tolist() == (-start[0, 3]).tolist() != [0, 0]
