"""Values that nobody writes on purpose, as plain data."""

import random
from typing import Any

NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 2, 3, 7, 10**9, -(10**9), 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)),
    *(2**63, 10**30, -(10**400), 0.0, -0.0, 0.5, 1.5, 1e-320, 1e308, -1e308),
    *(float("nan"), float("inf"), float("-inf")),
)
TEXTS = (
    *(
        "",
        " ",
        "\t",
        "\n",
        "a\nb",
        "a\r\nb",
        "\x00",
        "a\x00b",
        "\x1b[31m",
        "\x7f",
        "\x85",
        "\ufeff",
    ),
    *("\ud800", "a\udc80b", "\u202eabc", "\u200b", "e\u0301", "Nägel", "香水", "\U0001f600" * 20),
    *(
        "null",
        "~",
        "true",
        "No",
        "nan",
        "inf",
        "1e5",
        "0x10",
        "010",
        "1:30",
        "1_000",
        "-",
        ".",
        "..",
    ),
    *("2026-02-30", "2026-01-31", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
    *(
        "'",
        '"',
        "\\",
        "''",
        '"a"',
        "{a}",
        "{{a}}",
        "{0..3}",
        "a{0..99999999}",
        "%",
        "%Y",
        "%s",
        "$(x)",
    ),
    *("*", "**", "?", "[", "[!", "{a,b}", "/", "//", "a/", "__row", "__file", "user_id", "item"),
    *(
        "!!str",
        "&a",
        "*a",
        "<<",
        "- a",
        "a: b",
        "#",
        "@",
        "`",
        "|",
        ">",
        "?x",
        ",",
        ";",
        "\\t",
        "\\x01",
    ),
)
PATHS = (
    *(
        "items.csv",
        "log.csv",
        "users.csv",
        "vectors.parquet",
        "nothing.csv",
        "items.csv/",
        "./items.csv",
    ),
    *(
        "../items.csv",
        "../../../../etc/passwd",
        "/etc/passwd",
        "/dev/zero",
        "/dev/null",
        "/dev/full",
    ),
    *(
        "pipe.csv",
        "loop.csv",
        "locked",
        "locked/a.csv",
        "empty.csv",
        "folder",
        "folder.csv",
        "socket.csv",
    ),
    *(
        "*.csv",
        "**/*",
        "[",
        "{a,b}" * 20 + ".csv",
        "**/" * 50 + "x.csv",
        "a" * 300 + ".csv",
        "a/" * 3000,
    ),
    *(
        "not-utf8-*.csv",
        "new\nline.csv",
        "http://localhost:1/a.csv",
        "ftp://a/b.csv",
        "file:///etc/passwd",
    ),
    *(
        "file://items.csv",
        "hdfs://a/b.csv",
        "s3:/a/b.csv",
        "C:\\items.csv",
        "~",
        "~/a.csv",
        "$HOME/a.csv",
    ),
    *(
        "items.csv.gz",
        "items.xlsx",
        "items",
        ".hidden.csv",
        "_SUCCESS",
        "dt=1/a.csv",
        "\x00",
        "-",
        "--help",
    ),
)


def text(rng: random.Random) -> str:
    """A text, sometimes a long one."""
    found = rng.choice(TEXTS)
    return found * rng.choice((2, 50, 5000)) if rng.random() < 0.1 else found


def number(rng: random.Random) -> Any:
    return rng.choice(NUMBERS)


def path(rng: random.Random) -> str:
    return rng.choice(PATHS)


def value(rng: random.Random, depth: int = 0) -> Any:
    """A value of any kind, perhaps a nested one."""
    kind = rng.randrange(9 if depth < 3 else 6)
    if kind < 2:
        return number(rng)
    if kind < 4:
        return text(rng)
    if kind == 4:
        return rng.choice((None, True, False))
    if kind == 5:
        return path(rng)
    if kind == 6:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 7:
        return {text(rng): value(rng, depth + 1) for _ in range(rng.randrange(3))}
    nested: Any = text(rng)
    for _ in range(rng.choice((2, 30, 70, 400))):
        nested = [nested] if rng.random() < 0.5 else {"a": nested}
    return nested
