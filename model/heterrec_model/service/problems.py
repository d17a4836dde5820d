"""Refused requests: a status and, per mistake, what is wrong, got, expected, and near values."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import ErrorDetails

from heterrec_schemas.errors import HeterrecError, suggest

MOST_PROBLEMS = 10
"""Number of mistakes that an answer lists."""
_SHOWN = 100
"""Characters of a wrong value that an answer repeats."""


class Problem(BaseModel):
    """One mistake.

    Attributes:
        what: what is wrong, or the field, as in `history.items.3`.
        got: what was received.
        expected: what is accepted.
        near: similar ids, values or names, or what to do.
    """

    model_config = ConfigDict(frozen=True)

    what: str
    got: str | None = None
    expected: str | None = None
    near: str | None = None


class Problems(BaseModel):
    """The body of every answer with a status of 400 or more.

    Attributes:
        errors: at least one, at most MOST_PROBLEMS.
    """

    errors: list[Problem]


class RefusedError(Exception):
    """A request that is not answered as asked.

    Attributes:
        status: of HTTP.
        problems: at least one.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: HTTPStatus,
        problems: Sequence[Problem],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status)
        self.status = status
        self.problems = list(problems)
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """The body of the answer."""
        return Problems(errors=self.problems).model_dump_json(exclude_none=True).encode()


def bad_request(what: str, got: object = None, expected: str | None = None) -> RefusedError:
    """A request that cannot be read: 400."""
    shown = None if got is None else shorten(got)
    return RefusedError(HTTPStatus.BAD_REQUEST, [Problem(what=what, got=shown, expected=expected)])


def busy(what: str, expected: str, seconds: int = 1) -> RefusedError:
    """A service that has too much to do: 503, to be tried again after some seconds."""
    problem = Problem(what=what, expected=expected, near=f"Try again after {seconds} s.")
    return RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, [problem], {"retry-after": str(seconds)})


def of_error(error: HeterrecError) -> RefusedError:
    """A wrong id, feature, value or time: 422."""
    problem = Problem(
        what=shorten(error.what, 300),
        got=None if error.got is None else shorten(error.got),
        expected=None if error.expected is None else shorten(error.expected, 300),
        near=error.todo or None,
    )
    return RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, [problem])


def of_validation(errors: Sequence[ErrorDetails], fields: Sequence[str]) -> RefusedError:
    """A body with wrong fields: 422.

    Args:
        errors: of pydantic.
        fields: names of the fields of the body.
    """
    problems: dict[str, Problem] = {}
    for error in errors:
        # Branches of a union, such as `list[int]`, are no fields.
        place = [str(p) for p in error["loc"] if str(p).isidentifier() or isinstance(p, int)]
        where = shorten(".".join(place), 200) or "body"
        problem = _problem(error, where, fields)
        known = problems.get(where)
        if known is not None and known.expected and problem.expected:
            if problem.expected not in known.expected:
                both = f"{known.expected}, or {problem.expected}"
                problems[where] = known.model_copy(update={"expected": both})
        else:
            problems[where] = problem
    return RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, list(problems.values())[:MOST_PROBLEMS])


def _problem(error: ErrorDetails, where: str, fields: Sequence[str]) -> Problem:
    if error["type"] == "extra_forbidden":
        hint = suggest(str(error["loc"][-1])[:_SHOWN], fields) if len(error["loc"]) == 1 else ""
        return Problem(
            what=where, got="an unknown field", expected="no such field", near=hint or None
        )
    if error["type"] == "missing":
        return Problem(what=where, got="no such field", expected="a value")
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return Problem(what=where, got=shorten(_as_json(error["input"])), expected=message)


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return type(value).__name__


def shorten(value: object, length: int = _SHOWN) -> str:
    """A value as text of bounded length."""
    text = str(value)
    return text if len(text) <= length else f"{text[:length]}... ({len(text):,} characters)"
