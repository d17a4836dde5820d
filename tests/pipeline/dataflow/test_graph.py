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
    r"Publish/add up/GroupByKey": "counts by name",
    r"Rejects/add up/GroupByKey": "counts by name",
    r"Rejects/write rejects/gather": "rows set aside",
}
"""Every GroupByKey except Reshuffles, with its purpose."""

SPREAD = {
    r"(read|read [^/]*|collect [^/]*|fit blocks|encode[^/]*)/spread": "splits over all workers",
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
    Side(r"vocabularies/no ids/Map\(decode\)", "no ids: no feature has a vocabulary", "nothing"),
    Side(
        r"(ids in memory|vocabularies/number/number|number keys/number)",
        "paths of the ids that workers hold",
        "400 bytes a file, whose size `limits.broadcast_values` bounds",
    ),
    Side(r"kinds/either/Combine/ParDo", "kinds of values", "16 bytes a feature"),
    Side(r"(List the items|list|list [^/]*)/split", "splits", "a reference for 128 MB of input"),
    Side(r"write items/write shard/each/ParDo\(write_item_shard\)", "shards", "400 bytes a shard"),
    Side(r"find cuts/do/each/ParDo\(find_cuts\)", "two times", "16 bytes"),
    Side(r"Sequences/no items/Map\(decode\)", "no item shards: the layout refers", "nothing"),
    Side(r"Rejects/add up/Combine/ParDo", "counts", "30 bytes a name"),
    Side(r"Publish/add up/Combine/ParDo", "counts", "30 bytes a name"),
    Side(r"Publish/all files", "files written", "400 bytes a file"),
    Side(r"Publish/hash inputs/each/ParDo\(hash_inputs\)", "input files", "400 bytes a file"),
    Side(r"write rejects/do/each/ParDo\(write_rejects\)", "a summary", "samples of each reason"),
]

TOP = [
    "Catalogue",
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
MOST_STEPS = 320
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


def translated(shop: Shop, text: str) -> Graph:
    """A spec over the shop's tables, translated for Dataflow; needs no store."""
    from heterrec_pipeline.building.config import BuildConfig
    from heterrec_pipeline.building.dataflow import _pipeline, leaf_steps
    from heterrec_pipeline.building.prepare import make_job
    from heterrec_schemas.feature_spec import parse_spec

    config = BuildConfig(parse_spec(text), text, str(shop.input), str(shop.output))
    flags = ["--runner=DataflowRunner", "--dry_run=True", "--project=some-project"]
    flags += ["--region=europe-west1", "--temp_location=gs://bucket/tmp", "--no_auth"]
    job = replace(make_job(config, datetime.now(UTC)), spill=False)
    proto = _pipeline(job, PipelineOptions(flags)).run().job.proto_pipeline
    names = set(leaf_steps(proto))
    return Graph(proto, [t for t in proto.components.transforms.values() if t.unique_name in names])


@pytest.fixture(scope="module")
def graph(built_shop: Shop) -> Graph:
    """Of a catalogue with a joined table, a log and users."""
    return translated(built_shop, built_shop.spec_path.read_text(encoding="utf-8"))


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


def unexplained(names: list[str], patterns: list[str]) -> tuple[list[str], list[str]]:
    """Names that match no pattern, and patterns that match no name."""
    hits = {p: [n for n in names if re.search(f"(^|/)({p})$", n)] for p in patterns}
    explained = {n for found in hits.values() for n in found}
    return sorted(set(names) - explained), [p for p, found in hits.items() if not found]


def test_steps_have_names_and_are_few(graph: Graph) -> None:
    names = [t.unique_name for t in graph.steps]
    assert [n for n, count in Counter(names).items() if count > 1] == []
    assert sorted({n.split("/")[1] for n in names}) == TOP
    assert {n.split("/")[0] for n in names} == {"Generation"}
    assert len(names) <= MOST_STEPS, len(names)
    assert [n for n in names if "lambda" in n and "lambda at core.py" not in n] == []


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


def test_readings_are_stages_of_their_own(graph: Graph) -> None:
    """A step that reads and waits for a side input must not be fused with its producer."""
    names = {t.unique_name for t in graph.steps}
    for reader in ("read_keys", "CollectValues", "encode_items", "read_log"):
        steps = [n for n in names if n.endswith(f"ParDo({reader})")]
        assert steps, reader
        for step in steps:
            above = step.rpartition("/each/")[0]
            assert any(n.startswith(f"{above}/spread/") for n in names), step


def test_everything_runs_in_one_environment(graph: Graph) -> None:
    (environment,) = graph.proto.components.environments.values()
    assert environment.urn == common_urns.environments.DOCKER.urn
