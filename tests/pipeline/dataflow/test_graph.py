"""The graph for Dataflow: named steps, only intended shuffles, and small side inputs."""

import copy
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from corner_shop import Shop

from heterrec_pipeline import sizing

pytestmark = pytest.mark.dataflow

EXCHANGE = "by key/CoGroupByKeyImpl/GroupByKey"
GROUPED = {
    rf"keys/by key/{EXCHANGE}": "keys of all tables of a side, by bucket",
    rf"keys/repeated by (split|key)/{EXCHANGE}": "rows of repeated keys, of which one is kept",
    rf"keys/by split/{EXCHANGE}": "numbers of excluded rows",
    rf"vocabularies/count/by value/{EXCHANGE}": "partial counts of values, by bucket",
    r"(layout|keys)/lay out/gather": "figures of buckets: ids follow from those of all",
    r"(number keys|vocabularies/number)/by group/by shard": "references to sorted buckets",
    r"[^/]*/kinds/either/GroupByKey": "the kinds of values, flags by name",
    r"fit/samples/by feature": "samples of bundles, by feature",
    r"fit/quantizers[^/]*/by embedding": "edges of blocks of dimensions, by embedding",
    r"Items from the log/by item/by key/CoGroupByKeyImpl/GroupByKey": "a wide log by item",
    r"write items/group/by shard": "references to parts of tokens, by shard",
    r"Histories/by user/by key/CoGroupByKeyImpl/GroupByKey": "the log by user: the large shuffle",
    r"Histories/find cuts/gather": "days and their counts",
    r"Sequences/group/by shard": "references to parts of splits, by shard",
    r"Sequences/by item/by key/CoGroupByKeyImpl/GroupByKey": "training counts by range of items",
    r"Sequences/all counts/by shard": "references to counted ranges",
    r"Features/by feature/by shard": "references to tallies, by feature",
    r"Publish/add up/GroupByKey": "counts by name",
    r"Rejects/add up/GroupByKey": "counts by name",
    r"Rejects/write rejects/gather": "rows set aside",
}
"""Every GroupByKey except Reshuffles, with its purpose."""

SPREAD = {
    r"(read|read [^/]*|collect [^/]*|reduce in [^/]*|fit blocks|encode[^/]*)/spread": "splits over all workers",
    r"Features/measure/spread": "the files of the build, and of its parent, over all workers",
    r"Splits/split/spread": "parts of histories over all workers",
}
"""Every Reshuffle."""


class Side(NamedTuple):
    """An intended side input: the step that produces it, its contents, and its maximum size."""

    producer: str
    holds: str
    bound: str


SIDES = [
    Side(r"keys/population", "number of keys", "a number"),
    Side(r"Catalogue/cuts", "borders of item shards", "8 bytes a shard"),
    Side(r"keys/store excluded", "paths", "400 bytes a split"),
    Side(r"keys/all splits", "splits", "a reference for 128 MB of input"),
    Side(r"keys/read [^/]*/each/ParDo\(read_keys\)", "rows without a key", "a text a batch"),
    Side(
        r"lay out/do/each/ParDo\(lay_out_(keys|values)\)",
        "first ids of shards",
        "3 bytes a shard, 2^16 at most",
    ),
    Side(r"fit/fitted", "paths of fitted features", "400 bytes a feature"),
    Side(r"fit/write reductions of [^/]*", "paths of reductions", "400 bytes a feature"),
    Side(r"vocabularies/no ids/Map\(decode\)", "no ids: no feature has a vocabulary", "nothing"),
    Side(
        r"(ids in memory|vocabularies/number/number|number keys/number)",
        "paths of the ids that workers hold",
        "400 bytes a file, whose size `limits.broadcast_values` bounds",
    ),
    Side(r"kinds/either/Combine/ParDo", "kinds of values", "16 bytes a feature"),
    Side(
        r"(List the items|list|list [^/]*)/(split|reuse)",
        "splits",
        "a reference for 128 MB of input",
    ),
    Side(r"write items/write shard/each/ParDo\(write_item_shard\)", "shards", "400 bytes a shard"),
    Side(r"find cuts/do/each/ParDo\(find_cuts\)", "two times", "16 bytes"),
    Side(r"Sequences/no items/Map\(decode\)", "no item shards: the layout refers", "nothing"),
    Side(r"Rejects/add up/Combine/ParDo", "counts", "30 bytes a name"),
    Side(r"Publish/add up/Combine/ParDo", "counts", "30 bytes a name"),
    Side(
        r"Features/summarise/each/ParDo\(summarise_feature\)",
        "the statistics of each feature",
        "30 pairs of a categorical feature, a number a bin or token of others",
    ),
    Side(r"Publish/judged", "what the tokens of embeddings keep", "200 bytes a feature"),
    Side(r"Publish/all files", "files written", "400 bytes a file"),
    Side(r"Publish/hash inputs/each/ParDo\(hash_inputs\)", "input files", "400 bytes a file"),
    Side(r"write rejects/do/each/ParDo\(write_rejects\)", "a summary", "samples of each reason"),
]

TOP = [
    "Catalogue",
    "Features",
    "Histories",
    "List the items",
    "List the log",
    "Log",
    "Publish",
    "Rejects",
    "Sequences",
    "Splits",
    "Users",
]
MOST_STEPS = 350
MOST_STEPS_OF_REFRESH = 450
"""Maximum numbers of steps for a catalogue, one joined table and users, far below Dataflow's limits."""


BY_BUCKET = {
    r"layout/find cuts/gather": "figures of buckets",
    r"layout/every vocabulary/by shard": "references to sorted buckets",
    rf"look up/by value/{EXCHANGE}": "cells by bucket of values",
    rf"place/by (item|user)/{EXCHANGE}": "tokens and cells by bucket of keys",
    rf"Log/by item/{EXCHANGE}": "the log by bucket of items",
}
"""Further GroupByKeys for keys and values that are too large for a worker."""
SIDES_BY_BUCKET = [
    Side(r"find cuts/do/each/ParDo\(find_size_cuts\)", "two numbers a feature", "100 bytes"),
    Side(r"find last/each/ParDo\(find_last_kept\)", "a value a feature", "the text of a value"),
]

GROUPED_IN_REFRESH = {
    r"Catalogue/all places/by shard": "references to the ids of items and whether they are retired",
    r"Catalogue/retired/group/by shard": "references to tokens of retired items, by shard",
    r"Drift/add up/GroupByKey": "counts by name",
}
"""Further GroupByKeys of a refresh. The parent's vocabularies join the present values by bucket, in the groups of a build."""
SPREAD_IN_REFRESH = {
    r"known [^/]*/read/spread": "the parent's vocabulary files over all workers",
    r"retired/take/spread": "the parent's files of tokens over all workers",
    r"(List the (items|log)|list [^/]*|Users/list)/reuse/spread": "files, of which digests are copied",
}
SIDES_IN_REFRESH = [
    Side(r"Catalogue/find cuts/each/ParDo\(find_cuts\)", "borders of shards", "16 bytes a shard"),
    Side(
        r"number keys/number/each/ParDo\(number_group\)",
        "paths of the ids of items, with those that retired",
        "400 bytes a bucket of ids",
    ),
    Side(r"Drift/add up/Combine/ParDo", "counts", "30 bytes a name"),
    Side(
        r"Drift/compare/each/ParDo\(compare_feature\)",
        "the drift of each feature",
        "counts a bin: 35 of a categorical, 17 of a numeric feature, q of each dimension",
    ),
    Side(r"Drift/write/each/ParDo\(write_report\)", "the verdict", "a line a feature"),
]


class Graph(NamedTuple):
    """The graph of one spec in the form that the service receives."""

    proto: Any
    steps: list[Any]

    def named(self, urn: str) -> list[str]:
        parts = self.proto.components.transforms.values()
        return [t.unique_name for t in parts if t.spec.urn == urn]

    def side_inputs(self) -> list[str]:
        """The producer of every side input of every step."""
        producers = {made: t.unique_name for t in self.steps for made in t.outputs.values()}
        found = []
        for step in self.steps:
            if step.spec.urn == common_urns.primitives.PAR_DO.urn:
                payload = beam_runner_api_pb2.ParDoPayload.FromString(step.spec.payload)
                found += [producers[step.inputs[tag]] for tag in payload.side_inputs]
        return found


def translated(shop: Shop, text: str, **more: Any) -> Graph:
    """A spec over the shop's tables, translated for Dataflow; needs no store. `more` is further configuration."""
    from heterrec_pipeline.building.config import BuildConfig
    from heterrec_pipeline.building.dataflow import _pipeline, leaf_steps
    from heterrec_pipeline.building.prepare import make_job
    from heterrec_schemas.feature_spec import parse_spec

    config = BuildConfig(parse_spec(text), text, str(shop.input), str(shop.output), **more)
    flags = ["--runner=DataflowRunner", "--dry_run=True", "--project=some-project"]
    flags += ["--region=europe-west1", "--temp_location=gs://bucket/tmp", "--no_auth"]
    job = replace(make_job(config, datetime.now(UTC)), spill=False)
    proto = _pipeline(job, PipelineOptions(flags)).run().job.proto_pipeline
    names = set(leaf_steps(proto))
    return Graph(proto, [t for t in proto.components.transforms.values() if t.unique_name in names])


@pytest.fixture(scope="module")
def graph(built_shop: Shop) -> Graph:
    """Of a catalogue with a joined table, a log and users, and vectors that are reduced."""
    spec = copy.deepcopy(built_shop.spec)
    look = next(f for f in spec["items"]["features"] if f["name"] == "look")
    spec["items"]["features"].append(look | {"name": "turned", "reduce": {"rotate": True}})
    return translated(built_shop, yaml.safe_dump(spec))


@pytest.fixture(scope="module")
def from_log(built_shop: Shop) -> Graph:
    """Of items from the log, and sequences with the tokens of their items."""
    spec = copy.deepcopy(built_shop.spec)
    feature = {"name": "how", "kind": "categorical", "column": "event"}
    spec["items"] |= {"source": "interactions", "features": [feature]}
    del spec["items"]["joins"]
    spec["output"] = {**spec.get("output", {}), "layout": "flattened"}
    return translated(built_shop, yaml.safe_dump(spec))


@pytest.fixture(scope="module")
def by_bucket(built_shop: Shop) -> Graph:
    """Of a shop whose keys and values are too large for a worker."""
    spec = copy.deepcopy(built_shop.spec)
    spec["limits"]["broadcast_values"] = 0
    spec["items"]["features"][0]["max_size"] = 2
    spec["users"]["features"].append({"name": "years", "kind": "categorical", "column": "age"})
    with patch.object(sizing, "VALUES_PER_BUCKET", 1):
        return translated(built_shop, yaml.safe_dump(spec))


def grown(shop: Shop) -> dict[str, Any]:
    """The shop's spec with new features on both sides."""
    spec = copy.deepcopy(shop.spec)
    for features, column in (
        (spec["items"]["features"], "brand"),
        (spec["users"]["features"], "age"),
    ):
        features.append({"name": f"new_{column}", "kind": "categorical", "column": column})
    return spec


@pytest.fixture(scope="module")
def refreshed(built_shop: Shop) -> Graph:
    """Of a refresh with a refitted and with new features; the others are frozen."""
    text = yaml.safe_dump(grown(built_shop))
    return translated(built_shop, text, base=str(built_shop.output), refit=["price", "look"])


@pytest.fixture(scope="module")
def refreshed_by_bucket(built_shop: Shop) -> Graph:
    """Of a refresh whose keys and values, known or new, are too large for a worker."""
    spec = grown(built_shop)
    spec["limits"]["broadcast_values"] = 0
    spec["items"]["features"][0]["max_size"] = 2
    with patch.object(sizing, "VALUES_PER_BUCKET", 1):
        return translated(built_shop, yaml.safe_dump(spec), base=str(built_shop.output))


def unexplained(names: list[str], patterns: list[str]) -> tuple[list[str], list[str]]:
    """Names that match no pattern, and patterns that match no name."""
    hits = {p: [n for n in names if re.search(f"(^|/)({p})$", n)] for p in patterns}
    explained = {n for found in hits.values() for n in found}
    return sorted(set(names) - explained), [p for p, found in hits.items() if not found]


def check_steps(graph: Graph, top: list[str], most: int) -> None:
    """Names are unique and tell the stage, and steps are few."""
    names = [t.unique_name for t in graph.steps]
    assert [n for n, count in Counter(names).items() if count > 1] == []
    assert sorted({n.split("/")[1] for n in names}) == top
    assert {n.split("/")[0] for n in names} == {"Generation"}
    assert len(names) <= most, len(names)
    assert [n for n in names if "lambda" in n and "lambda at core.py" not in n] == []


def test_steps_have_names_and_are_few(graph: Graph) -> None:
    check_steps(graph, TOP, MOST_STEPS)


def test_steps_of_a_refresh_have_names_and_are_few(refreshed: Graph) -> None:
    check_steps(refreshed, sorted([*TOP, "Drift"]), MOST_STEPS_OF_REFRESH)


def test_fusion_breaks_where_it_is_meant_to(graph: Graph, from_log: Graph) -> None:
    def named(urn: str) -> list[str]:
        return [*graph.named(urn), *from_log.named(urn)]

    reshuffles = named(common_urns.composites.RESHUFFLE.urn)
    assert unexplained(reshuffles, list(SPREAD)) == ([], [])
    groups = named(common_urns.primitives.GROUP_BY_KEY.urn)
    own = [n for n in groups if not any(n.startswith(f"{r}/") for r in reshuffles)]
    assert unexplained(own, list(GROUPED)) == ([], [])


def test_every_side_input_is_meant_and_has_a_bound(graph: Graph, from_log: Graph) -> None:
    found = [*graph.side_inputs(), *from_log.side_inputs()]
    patterns = [f"{side.producer}.*" for side in SIDES]
    assert unexplained(found, patterns) == ([], [])


def test_what_goes_by_bucket_is_meant_too(by_bucket: Graph) -> None:
    reshuffles = by_bucket.named(common_urns.composites.RESHUFFLE.urn)
    spread = [*SPREAD, r"(measure|to groups)/spread"]
    assert unexplained(reshuffles, spread)[0] == []
    groups = by_bucket.named(common_urns.primitives.GROUP_BY_KEY.urn)
    own = [n for n in groups if not any(n.startswith(f"{r}/") for r in reshuffles)]
    strange, idle = unexplained(own, [*GROUPED, *BY_BUCKET])
    assert (strange, [p for p in idle if p in BY_BUCKET]) == ([], [])
    known = [f"{side.producer}.*" for side in SIDES]
    more = [f"{side.producer}.*" for side in SIDES_BY_BUCKET]
    strange, idle = unexplained(by_bucket.side_inputs(), [*known, *more])
    assert (strange, [p for p in idle if p in more]) == ([], [])
    held = r"check_log\)$"
    assert [t.unique_name for t in by_bucket.steps if re.search(held, t.unique_name)] == []


def test_the_steps_of_a_refresh_break_fusion_where_they_are_meant_to(
    refreshed: Graph, refreshed_by_bucket: Graph
) -> None:
    for graph, more in ((refreshed, []), (refreshed_by_bucket, [*BY_BUCKET])):
        reshuffles = graph.named(common_urns.composites.RESHUFFLE.urn)
        spread = [*SPREAD, *SPREAD_IN_REFRESH, r"(measure|to groups)/spread"]
        strange, idle = unexplained(reshuffles, spread)
        assert (strange, [p for p in idle if p in SPREAD_IN_REFRESH]) == ([], [])
        groups = graph.named(common_urns.primitives.GROUP_BY_KEY.urn)
        own = [n for n in groups if not any(n.startswith(f"{r}/") for r in reshuffles)]
        strange, idle = unexplained(own, [*GROUPED, *GROUPED_IN_REFRESH, *more])
        assert (strange, [p for p in idle if p in (*GROUPED_IN_REFRESH, *more)]) == ([], [])


def test_every_side_input_of_a_refresh_is_meant_and_has_a_bound(
    refreshed: Graph, refreshed_by_bucket: Graph
) -> None:
    """Known vocabularies and retired tokens are none: they go through shuffles, or are read from files."""
    own = [f"{side.producer}.*" for side in SIDES_IN_REFRESH]
    for graph, more in ((refreshed, []), (refreshed_by_bucket, SIDES_BY_BUCKET)):
        known = [f"{side.producer}.*" for side in (*SIDES, *more)]
        strange, idle = unexplained(graph.side_inputs(), [*known, *own])
        assert (strange, [p for p in idle if p in own]) == ([], [])


READERS = ("read_keys", "CollectValues", "encode_items", "read_log")
PARENT_READERS = ("read_known", "take_retired", "measure")


@pytest.mark.parametrize(
    ("name", "readers"), [("graph", READERS), ("refreshed", (*READERS, *PARENT_READERS))]
)
def test_readings_are_stages_of_their_own(
    request: pytest.FixtureRequest, name: str, readers: tuple[str, ...]
) -> None:
    """A step that reads and waits for a side input must not be fused with its producer."""
    names = {t.unique_name for t in request.getfixturevalue(name).steps}
    for reader in readers:
        steps = [n for n in names if n.endswith(f"ParDo({reader})")]
        assert steps, reader
        for step in steps:
            above = step.rpartition("/each/")[0]
            assert any(n.startswith(f"{above}/spread/") for n in names), step


def test_everything_runs_in_one_environment(graph: Graph) -> None:
    (environment,) = graph.proto.components.environments.values()
    assert environment.urn == common_urns.environments.DOCKER.urn
