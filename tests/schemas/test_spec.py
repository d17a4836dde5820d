import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from heterrec_schemas.errors import SpecError
from heterrec_schemas.feature_spec import (
    MAX_CODES,
    EmbeddingFeature,
    FeatureSpec,
    NumericFeature,
    ProductEmbedding,
    QuantileEmbedding,
    ResidualEmbedding,
    Source,
    Temporal,
    load_spec,
    parse_spec,
    salvage_spec,
    spec_sha256,
)

SPEC = """
version: 1
name: shop
items:
  source: {path: items.parquet}
  key: item_id
  joins: [{source: {path: e.parquet}, key: item_id}]
  features:
    - {name: brand, kind: categorical, column: brand}
    - {name: price, kind: numeric, column: price, bins: 8}
    - {name: title, kind: embedding, column: v, dim: 384, groups: 128, quantiles: 4}
interactions:
  source: {path: log.csv}
  user: user_id
  item: item_id
  timestamp: {column: timestamp, unit: s}
  behaviour: {column: b, values: [view, cart]}
users:
  source: {path: users.parquet}
  key: user_id
  features: [{name: age, kind: categorical, column: age}]
sequences: {max_length: 5}
split: {method: leave_one_out}
"""
TEMPORAL = {"method": "temporal", "validation_at": 0.8, "test_at": 0.9}
GONE = object()


def edited(*changes: tuple[str, object]) -> str:
    """The spec with values set at dotted paths, or removed with GONE."""
    data = yaml.safe_load(SPEC)
    for path, value in changes:
        place: Any = data
        *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
        for parent in parents:
            place = place[parent]
        if value is GONE:
            del place[last]
        else:
            place[last] = copy.deepcopy(value)
    return yaml.safe_dump(data)


def parsed(*changes: tuple[str, object]) -> FeatureSpec:
    return parse_spec(edited(*changes))


def message_of(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    return caught.value.message


BRAND, PRICE, TITLE = (f"items.features.{n}" for n in range(3))

VECTOR = {"name": "title", "kind": "embedding", "column": "v", "dim": 384}
PQ: dict[str, object] = {"quantizer": "pq", "groups": 4}
RQ: dict[str, object] = {"quantizer": "rq", "levels": 8}
MISTAKES = [
    ("version", 2, "unknown spec version: got 2, expected 1"),
    ("version", GONE, "version: missing; it is required"),
    ("name", GONE, "name: missing; it is required"),
    ("name", "", "name: "),
    ("sequences.max_length", "1e2", "a valid integer; got '1e2'. Write it as 100"),
    ("sequences.max_length", "many", "a valid integer; got 'many'"),
    (
        "interactions.user",
        True,
        "a valid string; got True. Write the text in quotes, e.g. 'on' or 'null'",
    ),
    (
        "interactions.timestamp",
        {"column": "t", "format": "yyyy-MM-dd"},
        "the format 'yyyy-MM-dd' has no directive of Python's strptime; write it as \"%Y-%m-%d\"",
    ),
    ("itmes", 1, "itmes: unknown key. Did you mean 'items'?"),
    ("items.source", {"pth": "x"}, "items.source.pth: unknown key. Did you mean 'path'?"),
    ("items.source", "interaction", "Did you mean 'interactions'?"),
    ("items.source", {"path": []}, "items.source.path: expected a path, a glob, or a list"),
    ("items.source", {"path": ["a", ""]}, "got nothing"),
    (
        "items.source",
        {"path": "a", "format": "xml"},
        "'parquet', 'csv', 'jsonl', 'avro', 'orc', 'npy', 'delta', 'iceberg' or 'bigquery'",
    ),
    ("items.source.delimiter", "\n", r"items.source.delimiter: got '\n', expected characters"),
    (
        "items.source",
        {"path": "a", "quote": "«"},
        "items.source.quote: got '«', expected one ASCII",
    ),
    ("items.source", {"path": "a", "escape": '"'}, "items.source: escape is the quote"),
    ("items.source", {"path": "a", "header": False}, "items.source: header: false needs names"),
    ("items.source", {"path": "a", "names": ["a"]}, "add header: false"),
    ("items.source", {"path": "a", "header": False, "names": ["a", "a"]}, "'a' occurs twice"),
    ("items.source.encoding", "utf-9", "items.source.encoding: unknown encoding 'utf-9'"),
    ("items.source.encoding", "base64", "unknown encoding 'base64'"),
    ("items.source.decimal", ";", "items.source.decimal: got ';', expected '.' or ','"),
    ("items.source", {"path": "a", "delimiter": "::", "escape": "\\"}, "one ASCII character"),
    ("items.source", {"path": "a", "delimiter": ';"'}, "quote: '\"' is part of the delimiter"),
    ("items.source", {"path": "a", "escape": "\\", "null_values": ["\\N"]}, "null_values: a text"),
    ("items.source", {"path": "a", "null_values": [None]}, "in quotes, e.g. 'on' or 'null'"),
    (
        "items.source",
        {"path": "a", "format": "avro", "delimiter": ";", "decimal": ","},
        "items.source: delimiter, decimal: for CSV only; the format is avro",
    ),
    (
        "items.features.2.column",
        "e_{0..9}",
        "column: e_{0..9} is 10 columns, but dim is",
    ),
    ("items.source", {"path": "a", "version": 3}, "items.source: version: for format: delta"),
    ("items.source", {"path": "a", "export_to": "gs://b"}, "export_to: for format: bigquery only"),
    ("items.source", {"path": "p.d.t", "format": "bigquery"}, "format: bigquery needs export_to"),
    (
        "items.source",
        {"path": ["p.d.t*", "d.t"], "format": "bigquery", "export_to": "gs://b"},
        "items.source: got path 'd.t', expected project.dataset.table",
    ),
    (
        "items.source",
        {"path": "p.d.t", "format": "bigquery", "export_to": "gs://b", "version": 2**60},
        f"version: got {2**60}, expected milliseconds since 1970",
    ),
    ("items.key", 5, "items.key: a valid string; got 5"),
    ("items.joins.0.source.pth", 1, "items.joins[0].source.pth: unknown key"),
    ("items.joins.0.kye", 1, "items.joins[0].kye: unknown key. Did you mean 'key'?"),
    ("items.catalogue_vocabulary", {"oov": 1}, "unknown key. Known: oov_buckets, shards."),
    ("items.features", {"a": 1}, "items.features: a valid list"),
    (f"{BRAND}.oov_bucket", 3, "items.features[0].oov_bucket: unknown key. Did you mean 'oov_b"),
    (f"{BRAND}.kind", "categorial", "unknown kind 'categorial'. Did you mean 'categorical'?"),
    (f"{BRAND}.kind", GONE, "items.features[0]: missing its 'kind'"),
    (f"{BRAND}.name", "Brand", "got 'Brand', expected a name of the form"),
    (f"{BRAND}.name", "item", "the feature name 'item' is reserved"),
    (f"{BRAND}.name", "item_id", "the feature name 'item_id' is reserved"),
    (f"{BRAND}.name", "item_index", "the feature name 'item_index' is reserved"),
    (f"{BRAND}.name", "user_age", "the feature name 'user_age' is reserved"),
    (f"{PRICE}.name", "brand", "two features are named 'brand'"),
    (f"{BRAND}.nested", "leaf", "nested needs multivalued: true"),
    (f"{BRAND}.separator", "|", "separator needs multivalued: true"),
    (f"{BRAND}.max_values", 3, "max_values needs multivalued: true"),
    (f"{BRAND}.aggregate", "latest", "aggregate needs items.source: interactions"),
    (f"{BRAND}.aggregate", "mean", "aggregate: mean is for numeric features"),
    (f"{BRAND}.min_count", 0, "items.features[0].min_count: greater than or equal to 1; got 0"),
    (f"{BRAND}.min_count", "two", "a valid integer; got 'two'"),
    (f"{BRAND}.max_size", 0, "max_size: greater than or equal to 1"),
    (f"{BRAND}.oov_buckets", -1, "oov_buckets: greater than or equal to 0"),
    (f"{BRAND}.shards", 0, "shards: greater than or equal to 1"),
    (f"{BRAND}.missing_values", [False], "got the boolean False; write the text in quotes"),
    (f"{BRAND}.missing_values", [" "], "an empty text already counts as missing"),
    (f"{PRICE}.bins", GONE, "a numeric feature needs bins (a number) or boundaries (a list)"),
    (f"{PRICE}.bins", 1, "bins: greater than or equal to 2; got 1"),
    (f"{PRICE}.boundaries", [1, 1], "strictly ascending; got [1.0, 1.0]"),
    (f"{PRICE}.boundaries", [0, float("nan")], "boundaries must be finite"),
    (f"{PRICE}.boundaries", [], "boundaries"),
    (f"{TITLE}.groups", 100, "groups: 100 does not divide dim: 384; workable pairs near it: "),
    (f"{TITLE}.groups", 4, "6.28e+57 codes per group, more than 1048576; workable pairs near it: "),
    (TITLE, {**VECTOR, "quantizer": "opq"}, "unknown quantizer 'opq'. Did you mean 'pq'?"),
    (TITLE, {**VECTOR, **PQ, "quantiles": 4}, "pq has no quantiles; it has groups and codes"),
    (TITLE, {**VECTOR, **RQ, "groups": 4}, "rq has no groups; it has levels and codes"),
    (TITLE, {**VECTOR, "quantiles": 2, "levels": 4}, "quantizer: quantile has no levels; it has"),
    (
        TITLE,
        {**VECTOR, **PQ, "groups": 5},
        "5 does not divide dim: 384; the nearest that do: 4, 6, 3",
    ),
    (TITLE, {**VECTOR, **PQ, "codes": 1}, "codes: greater than or equal to 2; got 1"),
    (TITLE, {**VECTOR, **PQ, "codes": 4097}, "codes: less than or equal to 4096; got 4097"),
    (TITLE, {**VECTOR, **PQ, "grups": 4}, "grups: unknown key. Did you mean 'groups'?"),
    (TITLE, {**VECTOR, **RQ, "levels": 65}, "levels: less than or equal to 64; got 65"),
    (TITLE, {**VECTOR, **RQ, "aggregate": "mean"}, "aggregate: mean is for numeric features"),
    (TITLE, {**VECTOR, **RQ, "dim": 4096}, "use fit_sample: 32768 or less"),
    (f"{TITLE}.reduce", {"pca": 64}, "groups: 128 does not divide pca: 64; workable pairs"),
    (f"{TITLE}.reduce", {}, "reduce: found neither pca nor rotate; use {pca: WIDTH}"),
    (f"{TITLE}.reduce", {"pca": 0}, "reduce.pca: greater than or equal to 1; got 0"),
    (f"{TITLE}.reduce", {"pca": 512}, "reduce: pca: 512 is more than dim: 384; use 384 or less"),
    (f"{TITLE}.reduce", {"rotation": True}, "unknown key. Did you mean 'rotate'?"),
    (
        TITLE,
        {**VECTOR, **PQ, "dim": 8192, "reduce": {"pca": 64}},
        "8192 are too wide; at most 4096",
    ),
    (TITLE, {**VECTOR, **PQ, "reduce": {"pca": 129}}, "does not divide pca: 129"),
    (f"{TITLE}.quantiles", 1, "quantiles: greater than or equal to 2; got 1"),
    (f"{TITLE}.aggregate", "median", "aggregate: median is for numeric features"),
    ("interactions.timestamp", "t", "interactions.timestamp: a valid dictionary"),
    ("interactions.timestamp.unit", "sec", "got 'sec', expected 's', 'ms', 'us', 'ns', 'day'"),
    ("interactions.timestamp.format", "%Y", "give unit or format, not both"),
    ("interactions.behaviour.values", ["view", " view"], "behaviour values given twice: 'view'"),
    ("interactions.behaviour.values", [], "at least 1 item"),
    ("interactions.unknown_items", "oov", "oov needs items.catalogue_vocabulary: {oov_buckets: N}"),
    ("interactions.unknown_items", "keep", "got 'keep', expected 'drop', 'reject' or 'oov'"),
    (
        "interactions.missing_user",
        "ignore",
        "interactions.missing_user: got 'ignore', expected 'reject' or 'drop'",
    ),
    (
        "erase",
        {"users": {"source": {"path": "a.csv", "empty_files": "skip"}, "key": "u"}},
        "erase.users.source: empty_files: skip would erase nothing if a list was not written",
    ),
    ("interactions.missing_values", [True], "got the boolean True; write the text in quotes"),
    ("items.missing_value", ["-1"], "Did you mean 'missing_values'?"),
    ("interactions.odrer", "x", "interactions.odrer: unknown key. Did you mean 'order'?"),
    ("interactions.user", "", "interactions.user: "),
    ("users.source", "u.parquet", "users.source: a valid dictionary"),
    ("users.features.0.name", "id", "the feature name 'id' is reserved"),
    ("users.features.0.aggregate", "latest", "aggregate is for items, not users"),
    (
        "users.hash_key",
        "bXkga2V5IG15IGtleQ==",
        "users.hash_key: expected the name of the environment",
    ),
    ("users.hash_key", 123, "users.hash_key: expected the name of the environment variable"),
    ("users", {"hash_kye": "A"}, "users.hash_kye: unknown key. Did you mean 'hash_key'?"),
    ("users", {"hash_key": "A", "key": "u"}, "users.source: missing; it is required"),
    (
        "rejects",
        {"values": "nne"},
        "rejects.values: got 'nne', expected 'full', 'hashed' or 'none'",
    ),
    ("rejects", {"values": "hashed"}, "rejects.values: hashed needs users.hash_key"),
    ("sequences.max_length", GONE, "sequences.max_length: missing; it is required"),
    ("sequences.max_length", 0, "max_length: greater than or equal to 1"),
    ("sequences.deduplicate", "consecutve", "Did you mean 'consecutive'?"),
    ("split.method", "random", "unknown method 'random'. Known: leave_one_out, temporal."),
    ("split.test_at", 0.9, "split.test_at: unknown key"),
    ("split", {**TEMPORAL, "test_at": 0.7}, "validation_at (0.8) lies after test_at (0.7)"),
    ("split", {**TEMPORAL, "test_at": 1.5}, "a fraction lies between 0 and 1; got 1.5"),
    ("split", {**TEMPORAL, "test_at": True}, "expected a fraction or an ISO time; got True"),
    ("split", {**TEMPORAL, "test_at": "2024-02-30"}, "an ISO time such as 2024-01-31; got '2024-0"),
    ("output", {"item_shards": 0}, "output.item_shards: greater than or equal to 1"),
    ("output", {"layout": "flat"}, "Did you mean 'flattened'?"),
    ("limits", {"max_reject_ratio": 2}, "less than or equal to 1; got 2"),
    (
        "limits",
        {"max_reject_ratio": {"time_unreadble": 0.1}},
        "limits.max_reject_ratio: unknown reason 'time_unreadble'. Did you mean 'time_unreadable'",
    ),
    (
        "limits",
        {"max_reject_ratio": {"default": 1.5}},
        "limits.max_reject_ratio.default: less than or equal to 1; got 1.5",
    ),
    ("limits", {"max_rejects": 0.1}, "Did you mean 'max_reject_ratio'?"),
]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    MISTAKES,
    ids=[f"{path}-{n}" for n, (path, _, _) in enumerate(MISTAKES)],
)
def test_a_mistake_is_named(path: str, value: object, words: str) -> None:
    assert words in message_of(edited((path, value)))


def test_every_mistake_is_listed_once() -> None:
    message = message_of(edited(("name", GONE), (f"{PRICE}.bins", 1), ("sequences.max_length", 0)))
    assert message.startswith("spec has 3 mistakes:\n")
    assert [line.split(":")[0].strip() for line in message.splitlines()[1:]] == [
        "name",
        "items.features[1].bins",
        "sequences.max_length",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "got list, expected a mapping"),
        ("", "got NoneType, expected a mapping"),
        ("a: [", "is not YAML"),
        ("name: a\nname: b", "the key 'name' is given twice (line 2)"),
        ("items:\n  key: a\n  key: b", "the key 'key' is given twice (line 3)"),
        ("path: {{ folder }}", "a key is not plain text (line 1)"),
        ("? [a, b]\n: 1", "a key is not plain text (line 1)"),
        ("x: !!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_what_is_no_spec_is_refused(text: str, words: str) -> None:
    assert words in message_of(text)


def test_defaults_are_the_contracts() -> None:
    spec = parsed(("interactions.behaviour", GONE), ("users", GONE))
    brand, price, title = spec.items.features
    assert brand.model_dump() == {
        "name": "brand",
        "kind": "categorical",
        "column": "brand",
        "aggregate": None,
        "missing_values": [],
        "min_count": 1,
        "max_size": None,
        "oov_buckets": 0,
        "multivalued": False,
        "nested": None,
        "separator": None,
        "max_values": None,
        "shards": None,
        "vocabulary": None,
    }
    assert isinstance(price, NumericFeature)
    assert isinstance(title, EmbeddingFeature)
    assert (price.fit_sample, title.fit_sample, title.quantizer) == (262_144, 262_144, "quantile")
    assert spec.interactions.unknown_items == "drop"
    assert spec.sequences.model_dump() == {
        "min_length": 1,
        "max_length": 5,
        "deduplicate": "exact",
        "train_windows": "last",
    }
    assert spec.output.model_dump() == {
        "item_shards": 1,
        "sequence_shards": 1,
        "layout": "referenced",
    }
    assert spec.limits.max_reject_ratio == 0.01
    assert spec.items.catalogue_vocabulary.oov_buckets == 0
    assert (spec.user_features, spec.denormalised, spec.first_item_index) == ([], False, 2)


def test_temporal_targets_are_all_unless_said() -> None:
    split = parsed(("split", TEMPORAL)).split
    assert isinstance(split, Temporal)
    assert split.targets == "all"


def test_items_out_of_the_log() -> None:
    spec = parsed(
        ("items.source", "interactions"), ("items.joins", []), (f"{PRICE}.aggregate", "median")
    )
    assert spec.denormalised
    assert "items.key: 'sku' and interactions.item: 'item_id' differ" in message_of(
        edited(("items.source", "interactions"), ("items.key", "sku"))
    )


def test_index_is_reserved_under_the_flattened_layout_only() -> None:
    assert parsed((f"{BRAND}.name", "index")).items.features[0].name == "index"
    flat = edited((f"{BRAND}.name", "index"), ("output", {"layout": "flattened"}))
    assert "the feature name 'index' is reserved under layout: flattened" in message_of(flat)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("2024-01-31", "2024-01-31T00:00:00Z"),
        ("2024-01-31T12:00:00+02:00", "2024-01-31T10:00:00Z"),
        ("'2024-01-31 12:00'", "2024-01-31T12:00:00Z"),
        ("2024-01-31 12:00:00", "2024-01-31T12:00:00Z"),
        ("0.8", 0.8),
        ("1", 1.0),
    ],
)
def test_a_cut_is_a_fraction_or_a_time_however_yaml_reads_it(given: str, meant: object) -> None:
    text = edited(("split", TEMPORAL)).replace("validation_at: 0.8", f"validation_at: {given}")
    text = text.replace("test_at: 0.9", "test_at: 2030-01-01" if "-" in given else "test_at: 1.0")
    split = parse_spec(text).split
    assert isinstance(split, Temporal)
    assert split.validation_at == meant


def test_times_of_cuts_are_compared_across_zones() -> None:
    late = {**TEMPORAL, "validation_at": "2024-02-01T00:00Z", "test_at": "2024-02-01T01:00+02:00"}
    assert "lies after test_at" in message_of(edited(("split", late)))
    early = {**late, "validation_at": "2024-02-01T00:30+02:00"}
    assert parsed(("split", early))


def test_unquoted_numbers_are_taken_as_text_where_text_is_meant() -> None:
    brand = parsed((f"{BRAND}.missing_values", [0, 1.0, " n/a ", 2.5])).items.features[0]
    assert brand.model_dump()["missing_values"] == ["0", "1", "n/a", "2.5"]


def test_oov_buckets_move_the_first_item() -> None:
    assert parsed(("items.catalogue_vocabulary", {"oov_buckets": 3})).first_item_index == 5


def test_many_codes_are_warned_of() -> None:
    assert list(parsed().warnings()) == []
    (warning,) = parsed((f"{TITLE}.groups", 48), (f"{TITLE}.quantiles", 3)).warnings()
    assert warning.startswith("items feature 'title': 6561 codes per group (above 4096)")


@given(st.integers(1, 400), st.integers(1, 400), st.integers(2, 9))
def test_refused_sizes_come_with_workable_ones(dim: int, groups: int, quantiles: int) -> None:
    sizes = {"dim": dim, "groups": groups, "quantiles": quantiles}
    feature = {"name": "v", "kind": "embedding", "column": "v"}
    works = dim % groups == 0 and quantiles ** (dim // groups) <= MAX_CODES
    if works:
        assert QuantileEmbedding.model_validate({**feature, **sizes}).code_count <= MAX_CODES
        return
    with pytest.raises(ValueError, match="workable pairs near it") as caught:
        QuantileEmbedding.model_validate({**feature, **sizes})
    pairs = str(caught.value).split("near it: ")[1].split(" [type")[0].split(", ")
    for pair in pairs:
        words = pair.split()
        near = {"dim": dim, "groups": int(words[1]), "quantiles": int(words[4])}
        QuantileEmbedding.model_validate({**feature, **near})


def test_codebooks_have_a_token_per_group_or_level() -> None:
    pq = parsed((TITLE, {**VECTOR, **PQ})).items.features[2]
    rq = parsed((TITLE, {**VECTOR, **RQ})).items.features[2]
    assert isinstance(pq, ProductEmbedding)
    assert isinstance(rq, ResidualEmbedding)
    assert (pq.token_count, pq.code_count, pq.book_width, pq.fit_sample) == (4, 256, 96, 65_536)
    assert (rq.token_count, rq.code_count, rq.book_width, rq.fit_sample) == (8, 256, 384, 65_536)
    assert pq.entry("item", 0).details() == {
        **{"kind": "embedding", "side": "item", "quantizer": "pq"},
        **{"vocabulary_size": 258, "groups": 4, "codes": 256},
    }
    quantile = parsed().items.features[2].entry("item", 0)
    assert quantile.quantizer == "quantile"
    assert "quantizer" not in quantile.details(), "as in the files of earlier releases"


def test_bins_of_given_boundaries() -> None:
    price = parsed((f"{PRICE}.boundaries", [1, 2.5])).items.features[1]
    assert isinstance(price, NumericFeature)
    assert price.boundaries == [1, 2.5]
    assert price.entry("user", 2).model_dump(exclude_none=True) == {
        "name": "price",
        "kind": "numeric",
        "side": "user",
        "vocabulary_size": 5,
        "multivalued": False,
        "bins": 3,
        "boundary_version": 1,
        "missing": 0,
        "oov": 0,
    }


@pytest.mark.parametrize(
    ("path", "format_"),
    [
        ("a.parquet", "parquet"),
        ("A.CSV.GZ", "csv"),
        ("gs://b/x.jsonl.zst", "jsonl"),
        ("x.ndjson", "jsonl"),
        ("x.json.gz", "jsonl"),
        ("x.TSV.BZ2", "csv"),
        ("x.tab", "csv"),
        ("x.avro", "avro"),
        ("x.orc", "orc"),
    ],
)
def test_the_suffix_tells_the_format(path: str, format_: str) -> None:
    assert Source(path="*").format_of(path) == format_
    assert Source(path="*", format="csv").format_of(path) == "csv"


def test_an_untold_format_is_refused() -> None:
    with pytest.raises(SpecError, match=r"the format of log\.txt\.gz is not clear"):
        Source(path="*").format_of("log.txt.gz")
    with pytest.raises(SpecError, match="format: parquet"):
        Source(path="x").format_of("items.parquet.gzip")


def test_compressions_that_are_not_read_say_what_to_do() -> None:
    with pytest.raises(SpecError, match=r"xz -dc a\.csv\.XZ"):
        Source(path="x").format_of("b/a.csv.XZ")


def test_the_delimiter_is_the_declared_one_or_that_of_the_suffix() -> None:
    delimiters = [Source(path="x").delimiter_of(p) for p in ("a.csv", "a.TSV.gz", "a.tab")]
    assert delimiters == [",", "\t", "\t"]
    assert Source(path="x", delimiter=",").delimiter_of("a.tsv") == ","
    for written in ("\t", r"\t", r"\x09", r"\u0009"):
        assert Source(path="x", delimiter=written).delimiter_of("a.csv") == "\t"


def test_paths_are_one_or_several_patterns() -> None:
    assert Source(path="a").patterns == ["a"]
    assert Source(path=["a", "b"]).patterns == ["a", "b"]


def test_a_spec_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parsed().name = "other"


def test_load_spec_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC, encoding="utf-8")
    assert load_spec(path) == parse_spec(SPEC)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "there is no spec file"),
        (lambda path: path.write_bytes(b"name: \xff"), "is not UTF-8 text"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: path.write_text("version: 9"), "spec.yaml: unknown spec version"),
    ],
)
def test_an_unreadable_file_is_refused(
    make: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "spec.yaml"
    make(path)
    with pytest.raises(SpecError, match=words):
        load_spec(path)


def test_the_hash_is_of_the_text() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert spec_sha256("") == empty
    assert spec_sha256("ä") != spec_sha256("a")


@pytest.mark.parametrize("value", ["my secret", "c2VjcmV0", "abcdef0123", 4711])
def test_a_key_in_the_place_of_its_variable_is_not_repeated(value: object) -> None:
    assert str(value) not in message_of(edited(("users.hash_key", value)))


def test_a_key_needs_no_table_of_users() -> None:
    spec = parsed(("users", {"hash_key": "USER_KEY"}))
    assert (spec.hash_key, spec.user_table, spec.user_features) == ("USER_KEY", None, [])
    assert parsed(("users.hash_key", "USER_KEY")).user_table is not None
    assert parsed(("users", GONE)).hash_key is None


@pytest.mark.parametrize("role", ["item", "timestamp.column", "event_id", "order"])
def test_a_hashed_column_has_one_use(role: str) -> None:
    user = str(parsed().interactions.user)
    found = message_of(edited((f"interactions.{role}", user), ("users.hash_key", "USER_KEY")))
    assert f"interactions.{role.partition('.')[0]} are both column {user!r}" in found


def test_features_of_user_ids_are_refused_or_warned_about() -> None:
    spec = parsed(("users.hash_key", "USER_KEY"))
    table = spec.user_table
    assert table is not None
    assert not list(spec.warnings())
    same = edited(("users.features.0.column", table.key), ("users.hash_key", "USER_KEY"))
    assert f"reads column {table.key!r}, which has hashes of user ids" in message_of(same)
    derived = parsed(
        ("users.source.columns", {"begin": f"LEFT({table.key}, 3)"}),
        ("users.features.0.column", "begin"),
        ("users.hash_key", "USER_KEY"),
    )
    assert f"reads {table.key!r}, of which user ids are made" in next(derived.warnings())


@pytest.mark.parametrize(
    "mistake",
    [("users.hash_kye", "USER_KEY"), ("users.hash_key", "no name"), ("rejets", {"values": "none"})],
)
def test_a_spec_with_a_mistake_in_what_it_hides_quotes_nothing(mistake: tuple[str, object]) -> None:
    spec, mistakes = salvage_spec(edited(mistake))
    assert mistakes is not None
    assert spec is None or not spec.quotes_cells
