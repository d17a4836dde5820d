import polars as pl
import pytest
import yaml

from heterrec_pipeline.reading.spec_lines import derived


@pytest.mark.parametrize(
    "name", ["id", "order", "on", "a b", "größe", 'say "x"', "it's", "1st", "a.b", "NO"]
)
def test_a_line_for_the_spec_is_yaml_and_sql(name: str) -> None:
    line = derived(name, "CAST({} AS VARCHAR)")
    ((column, sql),) = yaml.safe_load(f"{{{line}}}")["columns"].items()
    assert column == name
    assert pl.DataFrame({name: [7]}).select(x=pl.sql_expr(sql))["x"].to_list() == ["7"]


def test_plain_names_stay_plain() -> None:
    assert derived("id", "CAST({} AS BIGINT)") == 'columns: {id: "CAST(id AS BIGINT)"}'
