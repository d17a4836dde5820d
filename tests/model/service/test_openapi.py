"""The description fits OpenAPI 3.1 and what the service does."""

import re
from typing import Any

import pytest
from running_service import Running

from heterrec_model.service.openapi import description


@pytest.fixture(scope="module")
def described(running: Running) -> dict[str, Any]:
    status, found = running.get("/openapi.json")
    assert status == 200
    return dict(found)


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        found = [node["$ref"]] if "$ref" in node else []
        return found + [r for value in node.values() for r in references(value)]
    return [r for value in node for r in references(value)] if isinstance(node, list) else []


def test_the_description_is_whole(described: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d", described["openapi"])
    assert set(described["info"]) >= {"title", "version"}
    schemas = described["components"]["schemas"]
    names = {reference.removeprefix("#/components/schemas/") for reference in references(described)}
    assert names == set(schemas)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in schemas)
    operations = [o for item in described["paths"].values() for o in item.values()]
    assert len({o["operationId"] for o in operations}) == len(operations)
    for operation in operations:
        assert operation["summary"]
        for code, answer in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d", code)
            assert answer["description"]
            assert set(answer) <= {"description", "content", "headers"}


def test_every_path_and_method_exists(running: Running, described: dict[str, Any]) -> None:
    for path, item in described["paths"].items():
        for method in item:
            status, headers, _ = running.send(method.upper(), path)
            assert status == (200 if method == "get" else 400)
            wanted = next(iter(item[method]["responses"]["200"]["content"]))
            assert method == "post" or headers["content-type"].startswith(wanted)


def test_fields_and_limits_are_described(described: dict[str, Any]) -> None:
    body = described["components"]["schemas"]["RecommendBody"]
    assert body["additionalProperties"] is False
    assert body["properties"]["k"]["maximum"] == 1000
    assert {"user", "users", "history", "where", "filter_seen"} <= set(body["properties"])


def test_without_the_page_its_paths_are_absent() -> None:
    assert b'"/examples"' not in description(False)
