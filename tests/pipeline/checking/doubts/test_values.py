import polars as pl
import pyarrow as pa
import yaml
from pieces import categorical, table_job

from heterrec_pipeline.checking.doubts.values import value_doubts
from heterrec_pipeline.checking.evidence import Evidence


def doubts(*cells: object, kind: str = "csv", **more: object) -> list[str]:
    evidence = Evidence(1000)
    evidence.add(pa.table({"kind": pa.array(cells)}), ["kind"])
    return list(value_doubts(table_job(categorical(**more)), evidence, {kind}))


def test_lists_in_text_come_with_the_way_to_take_them_apart() -> None:
    cells = ["['Action', 'Comedy']", '["Drama"]', "[]", "[1, 2]"]
    (text,) = doubts(*cells, "[Remastered] Best of", "{curly}")
    assert text.startswith(
        "items: feature 'kind': 4 of 6 sampled cells look like lists or objects in text"
    )
    assert 'write multivalued: true, separator: ",", and into the source columns: ' in text
    sql = yaml.safe_load("{" + text.split("into the source ")[1] + "}")["columns"]["kind"]
    found = pl.DataFrame({"kind": cells}).select(pl.sql_expr(sql)).to_series().to_list()
    assert found == ["Action, Comedy", "Drama", "", "1, 2"]
    assert "a column for each member" in doubts('{"a": 1}')[0]
    assert doubts("plain", "[x", "x]", None) == []
    assert doubts(["a", "b"], multivalued=True) == []


def test_words_for_missing_values_come_with_the_setting() -> None:
    (text,) = doubts("a", "NULL", "\\N", "nan", "NULL")
    assert text == (
        r"items: feature 'kind': 4 of 5 sampled values are 'NULL', '\\N', 'nan', a value like any other; if it means that "
        r"the value is missing, write missing_values: ['NULL', '\N', 'nan']"
    )
    assert doubts("a", "NULL", missing_values=["NULL"]) == []
    assert doubts(*["a"] * 200, "None") == [], "a name, say"


def test_a_backslash_before_a_quote_may_escape_it() -> None:
    (text,) = doubts('say \\"hi\\"', "x")
    assert "1 of 2 sampled cells have a backslash before a quote" in text
    assert "write escape: '\\' into the source" in text
    assert doubts('say \\"hi\\"', kind="parquet") == []


def test_cells_are_not_quoted_where_none_may_be() -> None:
    evidence = Evidence(1000)
    evidence.add(pa.table({"kind": ["['Secret']", 'Secret \\"x\\"']}), ["kind"])
    found = list(value_doubts(table_job(categorical()), evidence, {"csv"}, quoted=False))
    assert len(found) == 2
    assert not [text for text in found if "Secret" in text]
