"""Rules of codebooks against the brute-force reference, which adds one number at a time."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heterrec_schemas import codebooks
from heterrec_schemas.codebooks import (
    books_of,
    codebook_table,
    codebooks_schema,
    fit_book,
    fit_product,
    fit_residual,
    nearest_codes,
    product_tokens,
    residual_tokens,
)
from heterrec_schemas.testing import reference_codebooks as by_hand

MANY = settings(deadline=None, derandomize=True, database=None, max_examples=80)
COARSE = st.integers(-2, 2).map(float)
"""Values with many ties and duplicates."""
FAR = st.sampled_from([1000.0, 1000.0001, 1e-42, -3.4e38, 3.4e38, 16777217.0])
"""Values whose differences are small against them, and the ends of float32."""


def matrix(width: int, values: Any, most: int = 12) -> Any:
    rows = st.lists(st.lists(values, min_size=width, max_size=width), min_size=1, max_size=most)
    return rows.map(lambda r: np.array(r, np.float32))


@MANY
@given(st.data(), st.integers(1, 5), st.sampled_from([COARSE, FAR, st.floats(-1, 1, width=32)]))
def test_the_nearest_code_is_that_of_plain_sums(data: Any, width: int, values: Any) -> None:
    vectors, book = data.draw(matrix(width, values)), data.draw(matrix(width, values, 6))
    want = [by_hand.nearest(v, book.tolist()) for v in vectors.tolist()]
    assert nearest_codes(vectors, book).tolist() == want


def test_the_nearest_code_does_not_depend_on_the_rows_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    vectors = np.round(rng.normal(size=(300, 24)), 1).astype(np.float32)
    book = np.concatenate([vectors[:20], vectors[:20], vectors[20:40] + np.float32(1e-6)])
    whole = nearest_codes(vectors, book)
    assert whole[:20].tolist() == list(range(20)), "of equal centroids the first"
    for rows in (1, 7, 64):
        monkeypatch.setattr(codebooks, "_SCORES", rows * len(book))
        assert np.array_equal(nearest_codes(vectors, book), whole)
    one_by_one = [int(nearest_codes(v[None], book)[0]) for v in vectors]
    assert one_by_one == whole.tolist()


@MANY
@given(st.data(), st.sampled_from([COARSE, FAR]), st.integers(2, 5), st.integers(1, 3))
def test_fits_and_tokens_are_those_of_the_reference(
    data: Any, values: Any, codes: int, count: int
) -> None:
    vectors = data.draw(matrix(count * 2, values)) + np.float32(0.0)
    pq = {"quantizer": "pq", "dim": count * 2, "groups": count, "codes": codes}
    rq = {"quantizer": "rq", "dim": count * 2, "levels": count, "codes": codes}
    for feature, books, tokens in (
        (pq, fit_product(vectors, count, codes), product_tokens),
        (rq, fit_residual(vectors, count, codes), residual_tokens),
    ):
        want = by_hand.fit_books(feature, vectors.tolist())
        assert [book.tolist() for book in books] == want
        assert not any(np.signbit(book[book == 0]).any() for book in books), "-0.0 is +0.0"
        got = tokens(vectors, books)
        assert got.dtype == np.int32
        assert got.tolist() == [by_hand.book_tokens(feature, v, want) for v in vectors.tolist()]


def test_fewer_distinct_vectors_than_codes_are_the_centroids() -> None:
    vectors = np.array([[2, 2], [0, 0], [2, 2], [1, 0]], np.float32)
    book = fit_book(vectors, 256)
    assert book.tolist() == [[2, 2], [0, 0], [1, 0]], "in the order of the sample"
    first, second = fit_residual(vectors, 2, 256)
    assert first.tolist() == book.tolist()
    assert second.tolist() == [[0, 0]], "nothing is left"


def test_iterations_lower_the_error() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(600, 4)).astype(np.float32)

    def error(book: codebooks.Book) -> float:
        return float(((vectors - book[nearest_codes(vectors, book)]) ** 2).sum(1).mean())

    assert error(fit_book(vectors, 16)) < 0.8 * error(vectors[:16])


def test_tables_of_codebooks() -> None:
    books = [np.array([[1, 2], [3, 4]], np.float32), np.array([[5, 6]], np.float32)]
    table = codebook_table(books)
    assert table.schema.equals(codebooks_schema(2))
    assert table.to_pydict() == {
        "codebook": [0, 0, 1],
        "code": [0, 1, 0],
        "centroid": [[1, 2], [3, 4], [5, 6]],
    }
    assert [book.tolist() for book in books_of(table)] == [book.tolist() for book in books]
