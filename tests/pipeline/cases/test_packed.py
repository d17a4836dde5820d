"""Kinds of packed files."""

import gzip

import pytest
from case_shop import EVENTS, IDS, START, Case, csv, history

from heterrec_schemas import Generation


@pytest.mark.parametrize("user", ["gzip", "zeros", "frames", "skippable", "upper"])
def test_each_user_has_every_row(text_shop: Generation, user: str) -> None:
    """Gzip of several members and with zeros behind, zstd of several frames and skippable ones, an upper-case suffix."""
    assert history(text_shop, user) == [(item, START * 1000) for item in reversed(IDS)]


def test_a_plain_file_with_a_suffix(case: Case) -> None:
    case.events("log.csv.gz", csv(EVENTS))
    case.refused("log.csv.gz", "not a gzip file")


def test_a_packed_file_without_a_suffix(case: Case) -> None:
    case.events("log.csv", gzip.compress(csv(EVENTS).encode()))
    case.refused("log.csv", "gzip")
