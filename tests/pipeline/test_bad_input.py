"""Every kind of wrong input: one helpful message, the right exit code, and nothing published.

A case spoils a copy of a shop that has a generation already, and builds. Builds run two at a time, ahead of the tests
that look at them.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from corner_shop import START, Finished, Shop

from heterrec_schemas import open_generation
from heterrec_schemas.hashing import stable_hash

Spoil = Callable[[Shop], Any]


@dataclass(frozen=True)
class Case:
    """One kind of wrong input.

    Attributes:
        spoil: does it.
        words: what the message must hold.
        code: the exit code.
        arguments: further ones of `build`.
    """

    spoil: Spoil
    words: tuple[str, ...]
    code: int
    arguments: tuple[str, ...]


CASES: dict[str, Case] = {}


def refused(
    *words: str, code: int = 2, arguments: tuple[str, ...] = ()
) -> Callable[[Spoil], Spoil]:
    """Register a case by its function's name."""

    def register(spoil: Spoil) -> Spoil:
        CASES[spoil.__name__] = Case(spoil, words, code, arguments)
        return spoil

    return register


# --- the spec ------------------------------------------------------------------------------------


@refused(
    "spec.yaml has 6 mistakes",
    "items.features[0].min_cont: unknown key. Did you mean 'min_count'?",
    "items.features[1]: unknown kind 'numerical'. Did you mean 'numeric'",
    "interactions.tiemstamp: unknown key. Did you mean 'timestamp'?",
    "interactions.timestamp: missing; it is required",
    "sequences.max_length",
    "got 'fifty'",
    "split: unknown method 'temporl'. Did you mean 'temporal'?",
)
def misspelt_keys(shop: Shop) -> None:
    shop.feature("brand")["min_cont"] = 2
    shop.feature("price")["kind"] = "numerical"
    log = shop.spec["interactions"]
    log["tiemstamp"] = log.pop("timestamp")
    shop.spec["sequences"]["max_length"] = "fifty"
    shop.spec["split"] = {"method": "temporl"}


@refused(
    "groups: 3 does not divide dim: 4",
    "workable pairs near it: groups: 4 with quantiles: 2",
)
def groups_do_not_divide_dim(shop: Shop) -> None:
    shop.feature("look")["groups"] = 3


@refused(
    "quantiles: 200 to the power dim / groups = 4",
    "1.6e+09",
    "1048576",
    "groups: 1 with quantiles: 4",
)
def too_many_codes(shop: Shop) -> None:
    shop.feature("look").update(groups=1, quantiles=200)


@refused(
    "items.features[2]: quantizer: pq has no quantiles; it has groups and codes",
    "items.features[3]: quantizer: rq has no groups and no quantiles; it has levels and codes",
    "items.features[4].reduce.method: unknown key",
    "items.features[5]: unknown quantizer 'opq'. Did you mean 'pq'?",
)
def options_of_other_quantizers(shop: Shop) -> None:
    look = shop.feature("look")
    features = shop.spec["items"]["features"]
    features.append(look | {"name": "more", "quantizer": "rq"})
    features.append(look | {"name": "less", "reduce": {"method": "pca", "width": 2}})
    features.append(look | {"name": "else", "quantizer": "opq"})
    look["quantizer"] = "pq"


@refused("unknown_items: oov needs items.catalogue_vocabulary: {oov_buckets: N}")
def oov_without_buckets(shop: Shop) -> None:
    shop.spec["interactions"]["unknown_items"] = "oov"


# --- columns and types ---------------------------------------------------------------------------


@refused(
    "6 mistakes",
    "feature 'brand': items or items.joins[0] has no column 'brnad'. Did you mean 'brand'?",
    "feature 'age': users has no column 'aeg'. Did you mean 'age'?",
    "items: there is no column 'itemid'. Did you mean 'item_id'?",
    "items.joins[0]: there is no column 'item'. Did you mean 'item_id'?",
    "interactions: there is no column 'userid'. Did you mean 'user_id'?",
    "interactions: there is no column 'Time'. Did you mean 'time'?",
)
def misspelt_columns(shop: Shop) -> None:
    shop.feature("brand")["column"] = "brnad"
    shop.feature("age")["column"] = "aeg"
    shop.spec["items"]["key"] = "itemid"
    shop.spec["items"]["joins"][0]["key"] = "item"
    shop.spec["interactions"]["user"] = "userid"
    shop.spec["interactions"]["timestamp"]["column"] = "Time"


def _typed_items(shop: Shop, **columns: pa.Array) -> None:
    table = pa.table({"item_id": [f"i{k:02d}" for k in range(20)], **columns})
    pq.write_table(table, shop.input / "items.parquet")
    shop.spec["items"]["source"]["path"] = "items.parquet"


@refused(
    "feature 'brand': column 'brand' in items",
    "got decimal128(5, 2)",
    "feature 'colour': column 'colour' in items",
    "got binary",
    "feature 'tags'",
    "got list<",
    "set multivalued: true for lists",
    "feature 'price': column 'price' in items",
    "got date32[day], expected numbers",
    "feature 'look': column 'vector' in items",
    "got binary, expected lists of 4 numbers",
    "feature 'wide'",
    "or set dim: 3",
    "feature 'shade'",
    "items.joins[0]: column 'item_id' cannot be a key: got decimal128(3, 1)",
    "interactions.behaviour: column 'event': got log.jsonl row 200: {\"a\": 1}, expected text",
    "interactions.order: column 'event_id': got log.jsonl row 200: [1], expected integers",
)
def wrong_types(shop: Shop) -> None:
    features = shop.spec["items"]["features"]
    for name in ("colour", "tags"):
        features.append({"name": name, "kind": "categorical", "column": name})
    features.append(features[-2] | {"name": "shade", "multivalued": True})
    shop.put_vectors([Decimal(f"{k}.5") for k in range(20)], [[1.0] * 4] * 20)
    with shop.as_jsonl("interactions", time=int).open("a") as file:
        file.write(json.dumps({"time": 1, "event": {"a": 1}, "event_id": [1]}) + "\n")
    features.append(shop.feature("look") | {"name": "wide", "column": "wide"})
    _typed_items(
        shop,
        brand=pa.array([Decimal("1.50")] * 20, pa.decimal128(5, 2)),
        colour=pa.array([b"red"] * 20),
        tags=pa.array([["a"]] * 20),
        price=pa.array([0] * 20, pa.int32()).cast(pa.date32()),
        vector=pa.array([bytes(16)] * 20),
        wide=pa.array([[1.0, 2.0, 3.0]] * 20, pa.list_(pa.float32(), 3)),
    )


@refused("items.parquet", "key column 'item_id' holds floats with fractions", "got 1.5", "whole")
def float_key_with_fractions(shop: Shop) -> None:
    _typed_items(shop, brand=pa.array(["a", "b"] * 10), price=pa.array([1.0, 2.0] * 10))
    table = pq.read_table(shop.input / "items.parquet")
    keys = pa.array([float(k) for k in range(19)] + [1.5])
    pq.write_table(table.set_column(0, "item_id", keys), shop.input / "items.parquet")


@refused("interactions.timestamp: column 'time' with neither unit nor format", "unit (s, ms, us")
def text_time_without_unit(shop: Shop) -> None:
    del shop.spec["interactions"]["timestamp"]["unit"]


@refused("interactions.timestamp: column 'time' with format: '%Y'", "got int64", "with a unit")
def number_time_with_format(shop: Shop) -> None:
    shop.as_jsonl("interactions", time=int)
    shop.spec["interactions"]["timestamp"] = {"column": "time", "format": "%Y"}


@refused("feature 'brand': every value of column 'brand' in items is missing", "remove the feature")
def categorical_column_all_missing(shop: Shop) -> None:
    shop.feature("brand")["missing_values"] = ["Kiwi", "Lime", "Plum"]


@refused("feature 'look': every value of column 'vector' in items.joins[0] is missing")
def vectors_without_a_line(shop: Shop) -> None:
    (shop.input / "v.jsonl.zst").write_bytes(zstandard.compress(b""))
    shop.spec["items"]["joins"][0]["source"]["path"] = "v.jsonl.zst"


@refused("feature 'look': every value of column 'vector' in items.joins[0] is missing")
def embedding_column_all_missing(shop: Shop) -> None:
    shop.put_vectors([f"i{k:02d}" for k in range(20)], [None] * 20)


@refused("feature 'age': every value of column 'age' in users is missing")
def user_column_all_missing(shop: Shop) -> None:
    shop.put("users.csv", [["user_id", "age"], ["u1", ""], ["u2", " "]])


# --- files ---------------------------------------------------------------------------------------


@refused(
    "3 mistakes",
    "items: no file matches 'itmes.csv'",
    "items.csv, log.csv, users.csv, vectors.parquet",
    "interactions: no file matches 'log-*.csv'",
    "users: no file matches 'more/users.csv'",
    "got no folder",
    "Check source.path in the spec and --input.",
)
def missing_files(shop: Shop) -> None:
    shop.spec["items"]["source"]["path"] = "itmes.csv"
    shop.spec["interactions"]["source"]["path"] = "log-*.csv"
    shop.spec["users"]["source"]["path"] = "more/users.csv"


@refused("there is no input folder", "Check --input.")
def missing_input_folder(shop: Shop) -> None:
    shutil.rmtree(shop.input)


@refused(
    "4 mistakes",
    "items.csv is empty: got no header line, expected a first line with the column names",
    "vectors.parquet cannot be read",
    "got 0 bytes, expected a complete Parquet file",
    "log.csv.gz cannot be read: it is empty: got 0 bytes",
    "users.csv.gz is empty: got no header line",
)
def files_of_no_bytes(shop: Shop) -> None:
    for name in ("items.csv", "vectors.parquet", "log.csv.gz"):
        (shop.input / name).write_bytes(b"")
    shop.spec["interactions"]["source"]["path"] = "log.csv.gz"
    shop.replace("users", "csv.gz", b"")


@refused("items: the table holds no row with a key", "items.csv", "column 'item_id'")
def catalogue_of_a_header_only(shop: Shop) -> None:
    shop.put("items.csv", shop.rows("items.csv")[:1])


@refused("items: the table holds no row with a key", "items.parquet", "column 'item_id'")
def catalogue_of_no_rows(shop: Shop) -> None:
    _typed_items(shop, brand=pa.array(["a", "b"] * 10), price=pa.array([1.0, 2.0] * 10))
    empty = pq.read_table(shop.input / "items.parquet").slice(0, 0)
    pq.write_table(empty, shop.input / "items.parquet")


@refused("items: the table holds no row with a key", "no usable row in items.jsonl")
def catalogue_of_no_lines(shop: Shop) -> None:
    shop.replace("items", "jsonl", b"")


@refused("interactions: the log is empty", "no rows in log.csv", "at least one interaction")
def log_of_a_header_only(shop: Shop) -> None:
    shop.put("log.csv", shop.rows("log.csv")[:1])


@refused("log.jsonl.gz", "empty")
def log_of_no_lines(shop: Shop) -> None:
    shop.replace("interactions", "jsonl.gz", b"\n\n")


@refused(
    "vectors.parquet cannot be read",
    "items.csv.gz cannot be read: it is truncated",
    "more.csv.zst cannot be read: it is truncated",
    "log.jsonl.gz cannot be read: it is not a gzip file but text (remove the suffix",
    "users.parquet cannot be read",
    "Download or write the file again",
)
def broken_files(shop: Shop) -> None:
    vectors = shop.input / "vectors.parquet"
    vectors.write_bytes(vectors.read_bytes()[:-20])
    items = shop.replace("items", "csv.gz", shop.data("items"))
    items.write_bytes(items.read_bytes()[:-12])
    (shop.input / "more.csv.zst").write_bytes(zstandard.compress(shop.data("items"))[:-9])
    shop.spec["items"]["source"]["path"] = ["items.csv.gz", "more.csv.zst"]
    shop.as_jsonl("interactions", "jsonl.gz").write_bytes(b'{"user_id": "u1"}\n')
    shop.replace("users", "parquet", shop.data("users"))


@refused("vectors.parquet cannot be read", "a complete Parquet file")
def parquet_with_damaged_pages(shop: Shop) -> None:
    path = shop.input / "vectors.parquet"
    data = bytearray(path.read_bytes())
    data[10:200] = bytes(190)
    path.write_bytes(bytes(data))


def _long_log(shop: Shop) -> bytes:
    """A log that is longer than the sample before the build."""
    head, *rows = shop.data("interactions").splitlines(keepends=True)
    return head + b"".join(rows) * 600


@refused("log.csv.gz cannot be read: it is truncated", "a complete CSV file, gzip")
def gzip_truncated_far_behind(shop: Shop) -> None:
    path = shop.replace("interactions", "csv.gz", _long_log(shop))
    path.write_bytes(path.read_bytes()[:-9])


@refused("log.csv.zst cannot be read: it is truncated", "a complete CSV file, zstd")
def zstd_truncated_far_behind(shop: Shop) -> None:
    shop.replace("interactions", "csv.zst", zstandard.compress(_long_log(shop))[:-9])


@refused("log.csv cannot be read: a quote is never closed: everything after it is one cell")
def quote_that_is_never_closed(shop: Shop) -> None:
    (shop.input / "log.csv").write_bytes(shop.data("interactions") + b'u1,"i01' + _long_log(shop))


@refused("log.csv.gz cannot be read: it is not a gzip file, or it is damaged", "CRC")
def gzip_with_a_wrong_checksum(shop: Shop) -> None:
    path = shop.replace("interactions", "csv.gz", _long_log(shop))
    data = path.read_bytes()
    path.write_bytes(data[:-8] + b"\0\0\0\0" + data[-4:])


@refused(
    "items.csv cannot be read: it is not UTF-8 text",
    "byte 0xe9 in line 3",
    "log.jsonl cannot be read: it is not UTF-8 text",
    "byte 0xff in line 201",
)
def text_that_is_no_utf8(shop: Shop) -> None:
    items = shop.data("items").replace(b"i01,Lime", "i01,Pêch\xe9".encode("latin-1"))
    (shop.input / "items.csv").write_bytes(items.replace(b"P\xeach", b"Pech"))
    path = shop.as_jsonl("interactions")
    path.write_bytes(path.read_bytes() + b'{"user_id": "\xff"}\n')


@refused("log.csv cannot be read: it is not UTF-8 text", "byte 0xff in line 120002")
def no_utf8_far_behind(shop: Shop) -> None:
    (shop.input / "log.csv").write_bytes(_long_log(shop) + b"u1,i01,\xff,view,7\n")


@refused("log.csv", "has the column 'time' 2 times")
def header_with_a_column_twice(shop: Shop) -> None:
    text = (shop.input / "log.csv").read_text()
    (shop.input / "log.csv").write_text(text.replace("event_id", "time", 1))
    del shop.spec["interactions"]["order"]


@refused("the format of", "items.txt is not clear from its suffix", "format: csv")
def unknown_suffix(shop: Shop) -> None:
    (shop.input / "items.csv").rename(shop.input / "items.txt")
    shop.spec["items"]["source"]["path"] = "items.txt"


@refused("is one column, which seems to be separated by ','", "delimiter: ','")
def commas_in_a_file_of_tabs(shop: Shop) -> None:
    (shop.input / "items.csv").rename(shop.input / "items.tsv")
    shop.spec["items"]["source"]["path"] = "items.tsv"


@refused("column 'brand' has different types: items-1.parquet and items-2.parquet", "one type")
def files_of_one_source_disagree(shop: Shop) -> None:
    for k, brand in ((1, pa.array(["a", "b"])), (2, pa.array([[1], [2]]))):
        table = pa.table({"item_id": [f"i{k}", f"i{k}x"], "brand": brand, "price": [1.0, 2.0]})
        pq.write_table(table, shop.input / f"items-{k}.parquet")
    shop.spec["items"]["source"]["path"] = "items-*.parquet"


# --- rows, above the ratio ------------------------------------------------------------------------


@refused(
    "interactions: 4 of 204 rows (2.0%) were rejected",
    "limits.max_reject_ratio allows (1.0%)",
    "time_unreadable dominates with 3 entries",
    "log.csv row 200, column 'time': got 'yesterday'",
    "log.csv row 201, column 'time': got ' '",
    "log.csv row 202, column 'time': got '17e'",
    "Fix the input or the spec, or raise the limit: limits: {max_reject_ratio: {default: 0.01, time_unreadable: 0.02}}.",
)
def too_many_bad_times(shop: Shop) -> None:
    times = ["yesterday", " ", "17e", "-1"]
    shop.add("log.csv", [["u1", "i01", t, "view", "900"] for t in times])


@refused(
    "items: 1 of 21 rows (4.8%) were rejected",
    "duplicate_item dominates with 1 entry",
    "items.csv row 20, column 'item_id': got 'i00'",
)
def item_key_twice(shop: Shop) -> None:
    shop.add("items.csv", [["i00", "Plum", "1"]])
    names, *rows = shop.rows("items.csv")
    if stable_hash(*rows[-1]) < stable_hash(*rows[0]):  # then the added row would be the kept one
        shop.put("items.csv", [names, rows[-1], *rows[1:-1], rows[0]])


@refused(
    "items.joins[0]: 3 of 20 rows (15.0%) were rejected",
    "wrong_width dominates with 2 entries",
    "vectors.parquet row 3, column 'vector': got 'width 3: [1.0, 1.0, 1.0, ...]'",
)
def bad_vectors(shop: Shop) -> None:
    ids, vectors = shop.vectors()
    vectors[3], vectors[4], vectors[5] = [1.0] * 3, [1.0] * 5, [1.0, 1.0, float("nan"), 1.0]
    shop.put_vectors(ids, vectors)


@refused(
    "feature 'look': every value of column 'vector' in items.joins[0] is missing",
    "20 bad vectors; expected 5 finite numbers",
)
def every_vector_of_another_width(shop: Shop) -> None:
    shop.feature("look").update(dim=5, groups=5)


@refused(
    "items: 20 of 20 rows (100.0%) were rejected",
    "malformed_row dominates with 20 entries",
    "items.csv row 0: got '4 fields, expected 3: i00,Kiwi,0.5,more'",
)
def too_many_fields_everywhere(shop: Shop) -> None:
    names, *rows = shop.rows("items.csv")
    shop.put("items.csv", [names, *([*row, "more"] for row in rows)])


@refused("interactions: 200 of 200 rows (100.0%)", "unknown_behaviour dominates", "got 'view'")
def behaviours_that_the_spec_lacks(shop: Shop) -> None:
    shop.spec["interactions"]["behaviour"]["values"] = ["click", "purchase"]


@refused(
    "interactions: 20 of 200 rows (10.0%)",
    "unknown_item dominates with 20 entries",
    "log.csv row 0, column 'item_id': got 'i00'",
)
def unknown_items_rejected(shop: Shop) -> None:
    names, *rows = shop.rows("items.csv")
    shop.put("items.csv", [names, *(r for r in rows if r[0] not in ("i00", "i01"))])
    shop.spec["interactions"]["unknown_items"] = "reject"


@refused(
    "interactions: none of the 200 rows is left",
    "200 with unknown items",
    "Check that the item keys of both sources agree",
)
def no_item_is_known(shop: Shop) -> None:
    names, *rows = shop.rows("items.csv")
    shop.put("items.csv", [names, *([f"0{k}", b, p] for k, b, p in rows)])
    shop.spec["items"]["joins"], shop.spec["items"]["features"][2:] = [], []


@refused("interactions: none of the 200 rows is left", "200 of short users", "min_length")
def every_user_too_short(shop: Shop) -> None:
    shop.spec["sequences"]["min_length"] = 21


# --- the call ------------------------------------------------------------------------------------


@refused("--runner DaskRunner is refused", arguments=("--", "--runner", "DaskRunner"))
def dask_runner(shop: Shop) -> None:
    pass


@refused(
    "no runner 'DirectRuner'",
    "Did you mean 'DirectRunner'",
    arguments=("--", "--runner=DirectRuner"),
)
def unknown_runner(shop: Shop) -> None:
    pass


@refused("Beam has no flag --runer", "'--runner'", arguments=("--", "--runer", "FnApiRunner"))
def unknown_beam_flag(shop: Shop) -> None:
    pass


@refused(
    "--direct_num_workers", "invalid int value: 'two'", arguments=("--", "--direct_num_workers=two")
)
def bad_value_of_a_beam_flag(shop: Shop) -> None:
    pass


@refused("'stray'", arguments=("stray",))
def stray_argument(shop: Shop) -> None:
    pass


# --- the test -------------------------------------------------------------------------------------


@dataclass
class Outcome:
    shop: Shop
    done: Finished
    before: dict[str, str]


class Builds:
    """Runs cases in order, two at a time, ahead of their tests."""

    def __init__(self, built: Shop, folder: Path, names: list[str]) -> None:
        self.built, self.folder, self.names = built, folder, names
        self.pool = ThreadPoolExecutor(2)
        self.futures: dict[str, Future[Outcome]] = {}

    def _run(self, name: str) -> Outcome:
        case, shop = CASES[name], self.built.copy(self.folder / name)
        case.spoil(shop)
        before = shop.state()
        return Outcome(shop, shop.build(*case.arguments), before)

    def outcome(self, name: str) -> Outcome:
        at = self.names.index(name) if name in self.names else 0
        for ahead in {name: None} | dict.fromkeys(self.names[at : at + 3]):
            if ahead not in self.futures:
                self.futures[ahead] = self.pool.submit(self._run, ahead)
        return self.futures[name].result()


@pytest.fixture(scope="module")
def builds(
    request: pytest.FixtureRequest, built_shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Builds]:
    # Under xdist every worker runs its own cases, one at a time.
    alone = not hasattr(request.config, "workerinput")
    items = [i for i in request.session.items if alone and i.parent is request.node]
    names = [i.callspec.params["name"] for i in items if hasattr(i, "callspec")]
    found = Builds(built_shop, tmp_path_factory.mktemp("bad"), names)
    yield found
    found.pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", list(CASES))
def test_a_mistake_is_told_and_nothing_is_published(name: str, builds: Builds) -> None:
    case, outcome = CASES[name], builds.outcome(name)
    done = outcome.done
    print(done.err)
    assert done.code == case.code
    assert done.message.startswith("error: ")
    assert done.err.count("error: ") == 1
    assert done.out == ""
    for word in case.words:
        assert word in done.message
    for noise in ("Traceback", "<<heterrec", "[while running", "Error:", "WARNING"):
        assert noise not in done.err
    assert outcome.shop.state() == outcome.before


# --- below the ratio -------------------------------------------------------------------------------


def _loser(file: str, first: tuple[int, list[str]], second: tuple[int, list[str]]) -> int:
    """Of two different rows with one key, the one with the larger hash is rejected."""
    return max((first, second), key=lambda r: stable_hash(*r[1]))[0]


def test_below_the_ratio_bad_rows_are_set_aside(shop: Shop) -> None:
    shop.spec["limits"]["max_reject_ratio"] = 0.5
    shop.spec["interactions"]["unknown_items"] = "reject"
    shop.add(
        "items.csv",
        [
            ["i20", "Kiwi"],
            ["i21", "Kiwi", "1.5", "more"],
            [" ", "Kiwi", "1"],
            ["i00", "Kiwi", "0.5"],
            ["i01", "Plum", "9"],
            ["i25", "Lime", "cheap"],
            ["i26", "Lime", "inf"],
        ],
    )
    ids, vectors = shop.vectors()
    vectors[3], vectors[4] = [1.0] * 3, [1.0, 2.0, float("inf"), 1.0]
    ids += ["i05", "i06", None, "unsold"]
    vectors += [[0.0] * 4, vectors[6], [0.0] * 4, [1.0]]
    shop.put_vectors(ids, vectors)
    shop.add("users.csv", [["u0", "99"], ["u1", "21"], ["u50", "old"]])
    good = ["u1", "i01", str(START), "view", "900"]
    spoilt = [
        (good[:3], "", "malformed_row", f"3 fields, expected 5: u1,i01,{START}"),
        (
            ["u1", "i02", str(START), "view"],
            "",
            "malformed_row",
            f"4 fields, expected 5: u1,i02,{START},view",
        ),
        (
            [*good, "more"],
            "",
            "malformed_row",
            f"6 fields, expected 5: u1,i01,{START},view,900,more",
        ),
        (["", *good[1:]], "user_id", "missing_key", ""),
        (["u1", "\u2003", *good[2:]], "item_id", "missing_key", "\u2003"),
        ([*good[:2], "soon", *good[3:]], "time", "time_unreadable", "soon"),
        ([*good[:2], "", *good[3:]], "time", "time_unreadable", ""),
        ([*good[:2], "-1", *good[3:]], "time", "time_out_of_range", "-1"),
        ([*good[:2], "7258118400", *good[3:]], "time", "time_out_of_range", "7258118400"),
        ([*good[:4], "first"], "event_id", "order_unreadable", "first"),
        ([*good[:3], "steal", "901"], "event", "unknown_behaviour", "steal"),
        ([*good[:3], "", "902"], "event", "unknown_behaviour", ""),
        (["u1", "i77", *good[2:]], "item_id", "unknown_item", "i77"),
        (["u1", "i05", "7258118399.9999", "buy", ""], None, None, None),
    ]
    shop.add("log.csv", [row for row, *_ in spoilt])
    done = shop.build()
    assert done.code == 0, done.err
    twice = _loser("items.csv", (1, ["i01", "Lime", "1.5"]), (24, ["i01", "Plum", "9"]))
    lost = _loser("vectors", (5, _as_hashed("i05", vectors[5])), (20, _as_hashed("i05", [0.0] * 4)))
    older = _loser("users.csv", (0, ["u0", "20"]), (10, ["u0", "99"]))
    rejects = [
        ("items", "items.csv", 20, "", "malformed_row", "2 fields, expected 3: i20,Kiwi"),
        ("items", "items.csv", 21, "", "malformed_row", "4 fields, expected 3: i21,Kiwi,1.5,more"),
        ("items", "items.csv", 22, "item_id", "missing_key", " "),
        ("items", "items.csv", twice, "item_id", "duplicate_item", "i01"),
        ("items", "items.csv", 25, "price", "not_a_number", "cheap"),
        (
            "items.joins[0]",
            "vectors.parquet",
            3,
            "vector",
            "wrong_width",
            "width 3: [1.0, 1.0, 1.0, ...]",
        ),
        (
            "items.joins[0]",
            "vectors.parquet",
            4,
            "vector",
            "non_finite",
            "inf in dimension 2: [1.0, 2.0, inf, 1.0, ...]",
        ),
        ("items.joins[0]", "vectors.parquet", lost, "item_id", "duplicate_row", "i05"),
        ("items.joins[0]", "vectors.parquet", 22, "item_id", "missing_key", None),
        ("users", "users.csv", older, "user_id", "duplicate_user", "u0"),
        ("users", "users.csv", 12, "age", "not_a_number", "old"),
        *(
            ("interactions", "log.csv", 200 + k, column, reason, value)
            for k, (_, column, reason, value) in enumerate(spoilt)
            if reason
        ),
    ]
    assert shop.rejects() == sorted(rejects, key=lambda r: r[:4])
    manifest = shop.manifest()
    counts = manifest["counts"]
    assert counts["items"] == {
        "read": 26,
        "kept": 23,
        "rejected": 3,
        "repeated": 1,
        "erased": 0,
        "filtered": 0,
        "retired": 0,
    }
    assert counts["users"] == {
        "read": 12,
        "kept": 11,
        "rejected": 1,
        "repeated": 1,
        "erased": 0,
        "filtered": 0,
    }
    # One of the malformed rows has all required cells: it is listed and kept.
    assert (counts["interactions"]["read"], counts["interactions"]["rejected"]) == (214, 12)
    assert counts["interactions"]["kept"] == 202
    reasons: dict[str, int] = {}
    for *_, reason, _ in rejects:
        reasons[reason] = reasons.get(reason, 0) + 1
    assert manifest["rejects"] == reasons
    assert "Rejected (rejects/): duplicate_item 1, " in done.out
    _tokens_of_bad_cells_are_missing(shop)


def _as_hashed(key: str, vector: list[float]) -> list[str]:
    return [key, np.array(vector, dtype="<f4").tobytes().hex()]


def _tokens_of_bad_cells_are_missing(shop: Shop) -> None:
    generation = open_generation(shop.output)
    rows = {r["item_id"]: r for r in generation.items().to_pylist()}
    assert {i for i, r in rows.items() if r["price"] == 1} == {"i20", "i25"}
    assert rows["i26"]["price"] == max(r["price"] for r in rows.values())
    lacking = {"i03", "i04", "i20", "i25", "i26"}
    assert {i for i, r in rows.items() if r["look"] == [1, 1]} == lacking


def test_lines_that_are_no_objects_are_set_aside(shop: Shop) -> None:
    shop.spec["limits"]["max_reject_ratio"] = 0.5
    shop.spec["interactions"]["unknown_items"] = "drop"
    good = {"user_id": "u1", "item_id": "i01", "time": START, "event": "view", "event_id": 7}
    lines = ["nonsense", "[1]", "null", '{"user_id": "u1"', "", json.dumps(good | {"time": None})]
    lines += [json.dumps(good | {"item_id": "i99"}), json.dumps(good | {"event_id": 1.5})]
    with shop.as_jsonl("interactions", time=int, event_id=int).open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    with shop.as_jsonl("items", price=float).open("a") as file:
        file.write(json.dumps({"item_id": "i50", "brand": "Kiwi", "price": "dear"}) + "\n")
    done = shop.build("--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    listed = [("interactions", "log.jsonl", 200 + k, *r) for k, r in enumerate(_ODD_LINES) if r]
    assert shop.rejects() == [
        *listed,
        ("items", "items.jsonl", 20, "price", "not_a_number", "dear"),
    ]
    assert shop.manifest()["counts"]["interactions"]["unknown_item"] == 1


_ODD_LINES: list[tuple[str, str, str | None] | None] = [
    ("", "malformed_row", "nonsense"),
    ("", "malformed_row", "[1]"),
    ("", "malformed_row", "null"),
    ("", "malformed_row", '{"user_id": "u1"'),
    ("time", "time_unreadable", None),
    None,
    ("event_id", "order_unreadable", "1.5"),
]


def test_a_traceback_only_with_debug(shop: Shop) -> None:
    shop.put("log.csv", shop.rows("log.csv")[:1])
    done = shop.build("--debug")
    assert done.code == 2
    assert "Traceback (most recent call last)" in done.err
    assert done.err.splitlines()[-1].startswith("error: interactions: the log is empty")
