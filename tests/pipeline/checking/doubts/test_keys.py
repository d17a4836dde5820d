import polars as pl
import pytest
import yaml

from heterrec_pipeline.checking.doubts.keys import Side, unmet_keys


def side(source: str, column: str, *keys: str | None, whole: bool = True) -> Side:
    return Side(source, column, pl.Series(keys, dtype=pl.String), whole)


def warning(log: list[str], items: list[str], *, whole: bool = True) -> str | None:
    known = side("items.source", "id", *items, whole=whole)
    return unmet_keys("have an unknown item", side("interactions.source", "item", *log), known)


@pytest.mark.parametrize(
    ("log", "items", "words"),
    [
        (["3.0", "5.0"], ["3", "5"], "without '.0'"),
        (["3", "5"], ["3.0", "5.0"], "without '.0'"),
        (["0108775015", "0108775016"], ["108775015", "108775016"], "without leading zeros"),
        (["sku-a", "sku-b"], ["SKU-A", "SKU-B"], "in lower case"),
        (["a b", "c d"], ["ab", "cd"], "without blanks"),
        (["000", "007"], ["0", "7"], "without leading zeros"),
        (["1.0", "12345678901234567890.0"], ["1", "12345678901234567890"], "without '.0'"),
        (["a\tb", "c\u00a0d"], ["ab", "cd"], "without blanks"),
        (["12", "7"], ["item_12", "item_7"], "without the prefix 'item_'"),
        (["urn:p:12", "urn:p:7"], ["12", "7"], "without the prefix 'urn:p:'"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_keys_that_meet_after_a_normalisation_come_with_the_expression(
    log: list[str], items: list[str], words: str, whole: bool
) -> None:
    text = warning(log, items, whole=whole)
    assert text is not None
    assert text.startswith("100.0% of the 2 sampled rows have an unknown item: 'item' has '")
    assert f"'id' of items has {items[0]!r}" in text
    assert f"They meet {words}: write into " in text
    meet = {"interactions.source": set(log), "items.source": set(items)}
    for line in text.split(": write ")[1].rstrip(".").split(" and "):
        source = line.split()[1]
        written = yaml.safe_load("{" + line.split(" ", 2)[2] + "}")["columns"]
        ((column, sql),) = written.items()
        frame = pl.DataFrame({column: sorted(meet[source])})
        meet[source] = set(frame.select(pl.sql_expr(sql).cast(pl.String)).to_series())
    assert meet["interactions.source"] == meet["items.source"]


def test_keys_are_not_quoted_where_no_cell_may_be() -> None:
    known = side("items.source", "id", "item_12", "item_7")
    asking = side("interactions.source", "item", "12", "7")
    assert unmet_keys("have an unknown item", asking, known, quoted=False) == (
        "100.0% of the 2 sampled rows have an unknown item"
    )
    asking = side("interactions.source", "item", "ITEM_12", "ITEM_7")
    text = unmet_keys("have an unknown item", asking, known, quoted=False)
    assert text is not None
    assert "They meet in lower case" in text
    assert "12" not in text


def test_few_rows_without_a_counterpart_are_no_reason_to_warn() -> None:
    log = ["a"] * 95 + ["b"] * 5
    assert warning(log, ["a"]) is None
    assert warning([*log, "b"], ["a"]) == (
        "5.9% of the 101 sampled rows have an unknown item: 'item' has 'b', 'id' of items has 'a'"
    )
    assert warning(["b"] * 9, ["a"], whole=False) is None, "the rest of the table may have it"
    assert warning([], ["a"]) is None
    assert warning(["a"], []) is None
