"""Many refreshes in a row of a growing shop: ids stay, unchanged days have equal content, manifests grow by a line a day.

`make races` refreshes 20 times, and prints the time of each step, its rows, and the size of its manifest.
"""

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from corner_shop import START, Rows, Shop

from heterrec_pipeline.building import BuildConfig, build
from heterrec_schemas import open_generation
from heterrec_schemas.feature_spec import parse_spec
from heterrec_schemas.generation import Generation

STEPS = int(os.environ.get("HETERREC_REFRESHES", "3"))
ROWS = 40 if STEPS < 10 else 400
"""Number of items on the first day. Every day adds a twentieth, and as many interactions as there are items, ten times."""
SAME = 3
"""Every third day has the input of the day before."""


class GrowingShop(Shop):
    """A shop with an input for each day: items come, leave and return, prices move, brands are new, the log grows."""

    def day(self, number: int) -> None:
        """Write the tables of a day."""
        dice = random.Random(number)
        born = [f"i{k:05d}" for k in range(ROWS + number * (ROWS // 20))]
        away = {k for k, item in enumerate(born) if k and (k + number) % 11 == 0}
        items = [(k, item) for k, item in enumerate(born) if k not in away]
        self.put("items.csv", [["item_id", "brand", "price"]])
        self.add(
            "items.csv", [[i, f"b{k % (5 + k // 40)}", str(k % 90 + number)] for k, i in items]
        )
        vectors = [[k % 13 / 8, -(k % 17) / 4, float(k % 5), 1.0] for k in range(len(born))]
        self.put_vectors(born, vectors)
        users = [f"u{k:04d}" for k in range(ROWS // 2 + number * 2)]
        self.put(
            "users.csv", [["user_id", "age"], *([u, str(18 + k % 60)] for k, u in enumerate(users))]
        )
        if number == 0:
            self.put("log.csv", [["user_id", "item_id", "time", "event", "event_id"]])
        rows: Rows = []
        for k in range(len(born) * 10):
            event, moment = dice.choice(["view", "buy"]), START + (number * 10**6) + k
            row = [dice.choice(users), dice.choice(items)[1], str(moment), event, f"{number}-{k}"]
            rows.append(row)
        self.add("log.csv", rows)


def config_of(shop: Shop, *, base: bool) -> BuildConfig:
    text, output = shop.spec_path.read_text(), str(shop.output)
    return BuildConfig(
        parse_spec(text),
        text,
        str(shop.input),
        output,
        workers=1,
        base=output if base else None,
        allow_drift=True,
    )


def ids(generation: Generation) -> dict[str, dict[Any, int]]:
    """The id of every value by vocabulary."""
    stems = ("item", "brand")
    rows = {stem: generation.vocabulary(stem).to_pylist() for stem in stems}
    return {stem: {r["value"]: r["id"] for r in found} for stem, found in rows.items()}


@pytest.mark.slow
def test_no_id_moves_in_a_long_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop = GrowingShop(tmp_path / "shop")
    shop.write()
    shop.spec["interactions"].pop("order")
    shop.write_spec()
    before: dict[str, dict[Any, int]] = {}
    content, frozen, number = "", b"", 0
    for step in range(STEPS + 1):
        unchanged = step > 0 and step % SAME == 0
        if not unchanged:
            shop.day(number)
            number += 1
        began, worked = time.monotonic(), time.process_time()
        result = build(config_of(shop, base=step > 0))
        seconds, cpu = time.monotonic() - began, time.process_time() - worked
        generation, root = open_generation(result.path), Path(result.path)
        manifest = generation.manifest
        now = ids(generation)
        moved = {
            (stem, value): (known, now[stem].get(value))
            for stem, old in before.items()
            for value, known in old.items()
            if now[stem].get(value) != known
        }
        assert moved == {}
        assert all(len(set(found.values())) == len(found) for found in now.values())
        items = generation.items().select(["item_id", "item_index"]).to_pydict()
        assert all(now["item"][k] == at for k, at in zip(*items.values(), strict=True))
        edges = (root / "boundaries" / "price.parquet").read_bytes()
        assert edges == (frozen or edges)
        if unchanged:
            assert manifest.content_sha256 == content
        assert len(manifest.lineage) == step
        size = (root / "manifest.json").stat().st_size
        counts = manifest.counts
        line = f"{step:3d} {'same' if unchanged else '    '} {seconds:6.2f} s, {cpu:5.2f} s CPU"
        line += f"  items {counts.items.kept:5,} + {counts.items.retired:5,} retired"
        line += f"  rows {counts.interactions.kept:7,}  manifest {size:6,} bytes"
        if STEPS >= 10:
            with capsys.disabled():
                print("\n" + line, end="")
        before, content, frozen = now, manifest.content_sha256, edges
