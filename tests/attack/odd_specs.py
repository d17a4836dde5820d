"""Specs with mistakes: changes of a valid one by name, as plain data and in its text."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import odd_values
import yaml
from odd_expressions import condition, expression

SOURCE_KEYS = (
    *(
        "format",
        "version",
        "export_to",
        "keys",
        "append_only",
        "empty_files",
        "delimiter",
        "header",
        "names",
    ),
    *(
        "quote",
        "escape",
        "encoding",
        "null_values",
        "decimal",
        "unnest",
        "columns",
        "where",
        "path",
    ),
)
OTHER_KEYS = (
    *(
        "oov_buckets",
        "min_count",
        "max_size",
        "shards",
        "vocabulary",
        "multivalued",
        "nested",
        "separator",
        "max_values",
    ),
    *(
        "bins",
        "boundaries",
        "fit_sample",
        "dim",
        "groups",
        "quantiles",
        "quantizer",
        "codes",
        "levels",
    ),
    *(
        "missing_values",
        "aggregate",
        "retired",
        "available_from",
        "catalogue_vocabulary",
        "joins",
        "unit",
    ),
    *(
        "column",
        "kind",
        "name",
        "max_length",
        "min_length",
        "deduplicate",
        "train_windows",
        "targets",
    ),
    *(
        "method",
        "validation_at",
        "test_at",
        "item_shards",
        "sequence_shards",
        "layout",
        "max_reject_ratio",
    ),
    *(
        "broadcast_values",
        "unknown_items",
        "order",
        "behaviour",
        "parameters",
        "erase",
        "drift",
        "version",
    ),
)
WORDS = (
    *(
        "parquet",
        "csv",
        "jsonl",
        "avro",
        "orc",
        "npy",
        "delta",
        "iceberg",
        "bigquery",
        "nvtabular",
        "tensorflow_transform",
        "zlib_codec",
        "utf-16",
    ),
    *(
        "latin-1",
        "utf-7",
        "idna",
        "rot13",
        "temporal",
        "leave_one_out",
        "categorical",
        "numeric",
        "embedding",
    ),
    *(
        "pq",
        "rq",
        "quantile",
        "s",
        "ms",
        "ns",
        "day",
        "iso",
        "exact",
        "none",
        "last",
        "all",
        "mean",
        "median",
    ),
    *(
        "flattened",
        "interactions",
        "keep",
        "drop",
        "oov",
        "skip",
        "item_id",
        "brand",
        "price",
        "vector",
        "time",
    ),
)
Place = tuple[Any, Any]
"""A container and a key or position in it."""


def odd_spec(rng: random.Random, spec: dict[str, Any], changes: int = 0) -> str:
    """The text of a spec with some changes: up to three unless their number is given."""
    tree = copy.deepcopy(spec)
    for _ in range(changes or rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(tree))
        if places:
            rng.choice(_CHANGES)(rng, tree, rng.choice(places))
    text = _written(rng, tree)
    return rng.choice(_TEXT_CHANGES)(rng, text) if not changes and rng.random() < 0.25 else text


def _written(rng: random.Random, tree: Any) -> str:
    try:
        if rng.random() < 0.2:
            return json.dumps(tree)
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    except (RecursionError, yaml.YAMLError, TypeError, ValueError):
        return json.dumps(tree, default=str, skipkeys=True)


def _places(tree: Any, depth: int = 0) -> Iterator[Place]:
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree))
    for key in list(keys):
        yield tree, key
        if isinstance(tree[key], dict | list) and depth < 10:
            yield from _places(tree[key], depth + 1)


def _mapping(rng: random.Random, tree: Any) -> dict[Any, Any]:
    """A mapping of the tree, more often a source than another."""
    found = [c[k] for c, k in _places(tree) if isinstance(c[k], dict)]
    sources = [m for m in found if "path" in m]
    return rng.choice(sources if sources and rng.random() < 0.5 else [*found, tree])


def _other_value(rng: random.Random, tree: Any, place: Place) -> None:
    place[0][place[1]] = odd_values.value(rng)


def _other_number(rng: random.Random, tree: Any, place: Place) -> None:
    numbers = [(c, k) for c, k in _places(tree) if isinstance(c[k], int | float)] or [place]
    container, key = rng.choice(numbers)
    container[key] = odd_values.number(rng)


def _word(rng: random.Random, tree: Any, place: Place) -> None:
    place[0][place[1]] = rng.choice(WORDS)


def _path(rng: random.Random, tree: Any, place: Place) -> None:
    some = [odd_values.path(rng) for _ in range(rng.choice((1, 1, 1, 3)))]
    _mapping(rng, tree)["path"] = some[0] if len(some) == 1 else some


def _expression(rng: random.Random, tree: Any, place: Place) -> None:
    source = _mapping(rng, tree)
    if rng.random() < 0.5:
        source["where"] = condition(rng)
    else:
        source["columns"] = {rng.choice(("brand", "x", odd_values.text(rng))): expression(rng)}


def _new_key(rng: random.Random, tree: Any, place: Place) -> None:
    key = rng.choice((*SOURCE_KEYS, *OTHER_KEYS, odd_values.text(rng)))
    found = rng.choice((rng.choice(WORDS), odd_values.value(rng), odd_values.number(rng)))
    _mapping(rng, tree)[key] = found


def _without(rng: random.Random, tree: Any, place: Place) -> None:
    del place[0][place[1]]


def _moved(rng: random.Random, tree: Any, place: Place) -> None:
    container, key = rng.choice(list(_places(tree)))
    container[key] = copy.deepcopy(place[0][place[1]])


def _many(rng: random.Random, tree: Any, place: Place) -> None:
    times = rng.choice((2, 60, 3000))
    found = place[0][place[1]]
    place[0][place[1]] = found * min(times, 60) if isinstance(found, list) else [found] * times


_CHANGES = (
    *(_other_value, _other_value, _other_number, _other_number, _word, _path, _expression),
    *(_new_key, _new_key, _without, _moved, _many),
)


def _noise(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text))
    return text[:at] + odd_values.text(rng) + text[at + rng.choice((0, 1, 20)) :]


def _cut(rng: random.Random, text: str) -> str:
    return text[: rng.randrange(len(text))]


def _twice(rng: random.Random, text: str) -> str:
    lines = text.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    return "".join([*lines[:at], lines[at], *lines[at:]])


def _appended(rng: random.Random, text: str) -> str:
    deep = rng.choice((40, 70, 3000))
    line = rng.choice(
        (
            "a0: &a0 [x,x]\n"
            + "".join(f"a{k}: &a{k} [{','.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 9)),
            "x: &x [*x]\n",
            "x: &x {y: *x}\n",
            "x: " + "[" * deep + "]" * deep + "\n",
            "x: " + "{a: " * deep + "}" * deep + "\n",
            "<<: x\n",
            "? [a]\n: 1\n",
            "x: !!python/object/apply:os.system ['true']\n",
            f"x: !!{rng.choice(('binary', 'set', 'omap', 'int', 'float', 'timestamp', 'map', 'seq'))} {{a}}\n",
            "---\nversion: 1\n",
            "\tx: 1\n",
            "x: " + "9" * deep + "\n",
            "x: 0x" + "F" * deep + "\n",
            "x: " + ":".join(["59"] * deep) + "\n",
        )
    )
    return text.rstrip("}\n") + "\n" + line if text.startswith("{") else text + line


_TEXT_CHANGES = (_noise, _noise, _cut, _twice, _appended, _appended)
