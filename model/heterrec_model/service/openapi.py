"""The OpenAPI description, made of the models of requests and answers."""

import json
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from heterrec_model.service.bodies import MOST_BYTES, RecommendBody, SimilarBody, VectorsBody
from heterrec_model.service.problems import Problems
from heterrec_model.service.replies import Answers, Examples, Health, Ready, Vectors

_JSON = "application/json"
_POSTS: dict[str, tuple[str, type[BaseModel], type[BaseModel]]] = {
    "/recommend": ("Items for users, or after a history.", RecommendBody, Answers),
    "/similar": ("Items like some items.", SimilarBody, Answers),
    "/vectors": ("Vectors of users, of a history or of items.", VectorsBody, Vectors),
}
_GETS: dict[str, tuple[str, type[BaseModel]]] = {
    "/healthz": ("Whether the process lives.", Health),
    "/readyz": ("Whether it answers, and from which bundle; 503 while it stops.", Ready),
    "/examples": ("Some users and items, for the page.", Examples),
}
_REFUSED = {
    "400": "The body is not JSON, or has another type.",
    "408": "The body did not arrive in time.",
    "413": f"The body has more than {MOST_BYTES:,} bytes.",
    "422": "A field, an id or a value is wrong.",
    "503": "The queue is full, or the request waited too long in it; see Retry-After.",
}
_IDENTITY = {
    "x-heterrec-generation": "Id of the generation.",
    "x-heterrec-checkpoint": "Name of the checkpoint.",
    "x-heterrec-bundle": "Fingerprint of the bundle.",
}


@cache
def description(with_page: bool) -> bytes:
    """The description as JSON."""
    models: list[type[BaseModel]] = [Problems]
    paths: dict[str, Any] = {}
    for path, (words, body, reply) in _POSTS.items():
        models += [body, reply]
        refused = {code: _answer(text, Problems) for code, text in _REFUSED.items()}
        refused["503"]["headers"] = {"Retry-After": _header("Seconds to wait.", "integer")}
        paths[path] = {
            "post": {
                "summary": words,
                "operationId": path.strip("/"),
                "requestBody": {"required": True, "content": _content(body)},
                "responses": {"200": _answer("The answer.", reply, identity=True)} | refused,
            }
        }
    for path, (words, reply) in _GETS.items():
        if path != "/examples" or with_page:
            models.append(reply)
            paths[path] = _get(path, words, {"200": _answer("The answer.", reply)})
    paths["/readyz"]["get"]["responses"]["503"] = _answer("It stops.", Health)
    texts = {"/metrics": ("Metrics for Prometheus.", "text/plain")}
    if with_page:
        texts["/"] = ("The page.", "text/html")
    for path, (words, kind) in texts.items():
        content = {kind: {"schema": {"type": "string"}}}
        paths[path] = _get(path, words, {"200": {"description": words, "content": content}})
    _, definitions = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)],
        ref_template="#/components/schemas/{model}",
    )
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": "HeterRec", "version": _version()},
            "paths": paths,
            "components": {"schemas": definitions["$defs"]},
        }
    ).encode()


def _get(path: str, words: str, responses: dict[str, Any]) -> dict[str, Any]:
    name = path.strip("/") or "page"
    return {"get": {"summary": words, "operationId": name, "responses": responses}}


def _answer(words: str, model: type[BaseModel], *, identity: bool = False) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": words, "content": _content(model)}
    if identity:
        answer["headers"] = {name: _header(text, "string") for name, text in _IDENTITY.items()}
    return answer


def _header(words: str, kind: str) -> dict[str, Any]:
    return {"description": words, "schema": {"type": kind}}


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {_JSON: {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}


def _version() -> str:
    try:
        return version("heterrec")
    except PackageNotFoundError:
        return "0"
