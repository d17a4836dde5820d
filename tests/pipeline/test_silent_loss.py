"""What is lost or misread without an error is a warning of `validate`, `plan` and `build`, once each."""

import json

import yaml
from corner_shop import Shop

from heterrec_pipeline.planning.plan import PlanConfig, plan
from heterrec_schemas.feature_spec import parse_spec

WORDS = (
    "20.0% of the 200 sampled rows have an item that the item table lacks: 'item_id' has 'I0",
    'They meet in lower case: write into interactions.source columns: {item_id: "LOWER(item_id)"}.',
    "items: feature 'brand': 20 of 20 sampled cells look like lists or objects in text",
    "interactions.timestamp: all 200 sampled times are before 1990",
)


def test_each_command_warns_once(shop: Shop) -> None:
    head, *items = shop.rows("items.csv")
    shop.put("items.csv", [head, *([item, f"['{brand}']", price] for item, brand, price in items)])
    head, *log = shop.rows("log.csv")
    rows = [[user, item.upper() if user < "u2" else item, *more] for user, item, *more in log]
    shop.put("log.csv", [head, *rows])
    shop.spec["interactions"]["timestamp"]["unit"] = "ms"
    shop.write_spec()
    text = yaml.safe_dump(shop.spec)
    planned = plan(PlanConfig(parse_spec(text), text, str(shop.input)))
    checked, built = shop.validate("--json"), shop.build("--json")
    for warnings in (
        planned.warnings,
        *(json.loads(done.out)["warnings"] for done in (checked, built)),
        [line for line in built.err.splitlines() if line.startswith("warning: ")],
    ):
        assert [sum(words in w for w in warnings) for words in WORDS] == [1] * len(WORDS)
        assert not any("catalogue" in w for w in warnings), "which the plan says without examples"
