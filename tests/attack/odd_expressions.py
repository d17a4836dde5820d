"""SQL expressions by a grammar: those that a spec accepts, those that it refuses, and no SQL at all."""

import random

COLUMNS = ("u", "i", "ts", "v", "t", '"a.b"', "missing", "__row")
FUNCTIONS = (
    *(
        "UPPER",
        "LOWER",
        "LENGTH",
        "ABS",
        "CEIL",
        "FLOOR",
        "ROUND",
        "SQRT",
        "LN",
        "EXP",
        "SIGN",
        "REVERSE",
    ),
    *(
        "INITCAP",
        "TRIM",
        "LTRIM",
        "OCTET_LENGTH",
        "BIT_LENGTH",
        "CBRT",
        "SIN",
        "DEGREES",
        "COALESCE",
    ),
    *(
        "CONCAT",
        "NULLIF",
        "IFNULL",
        "GREATEST",
        "LEAST",
        "LEFT",
        "RIGHT",
        "SUBSTR",
        "REPLACE",
        "STRPOS",
    ),
    *(
        "STARTS_WITH",
        "ENDS_WITH",
        "REGEXP_LIKE",
        "LPAD",
        "RPAD",
        "REPEAT",
        "SPLIT_PART",
        "DATE",
        "STRPTIME",
    ),
    *(
        "STRFTIME",
        "DATE_PART",
        "MOD",
        "POW",
        "POWER",
        "LOG",
        "ATAN2",
        "ARRAY_LENGTH",
        "ARRAY_CONTAINS",
    ),
    *(
        "ARRAY_TO_STRING",
        "ARRAY_GET",
        "CONCAT_WS",
        "SUM",
        "COUNT",
        "MAX",
        "FIRST",
        "RANDOM",
        "NOW",
        "UNNEST",
    ),
    *(
        "STRING_TO_ARRAY",
        "NORMALIZE",
        "TIMESTAMP",
        "EXPLODE",
        "ARRAY_AGG",
        "IF",
        "BIT_AND",
        "XOR",
        "COLUMNS",
    ),
)
LITERALS = (
    *(
        "0",
        "1",
        "-1",
        "2",
        "1000",
        "1001",
        "99999999999",
        "9223372036854775807",
        "9" * 40,
        "1e308",
        "0.1",
    ),
    *(
        "'a'",
        "''",
        "'u1'",
        "'%'",
        "'a%_'",
        "'(a+)+$'",
        "'('",
        "'(a{999}){999}'",
        "'%Y-%m-%d'",
        "'%'",
        "'\\'",
    ),
    *("'2026-01-31'", "'1'", "'é'", "'\U0001f600'", f"'{'a' * 3000}'", "NULL", "TRUE", "FALSE"),
    *(
        "DATE '2026-01-31'",
        "TIMESTAMP '2026-01-31 10:00:00'",
        "INTERVAL '1 day'",
        "INTERVAL '99999999y'",
    ),
    *("DATE 'x'", "TIME '10:00'", "X'00'", "ARRAY[1, 2]", "[1, 'a']", "(SELECT 1)", "*", "DEFAULT"),
)
TYPES = (
    *(
        "VARCHAR",
        "INT",
        "BIGINT",
        "SMALLINT",
        "UBIGINT",
        "TINYINT",
        "DOUBLE",
        "FLOAT",
        "BOOLEAN",
        "DATE",
    ),
    *(
        "TIME",
        "TIMESTAMP",
        "BYTES",
        "DECIMAL",
        "DECIMAL(38, 10)",
        "DECIMAL(99, 98)",
        "JSON",
        "INT[]",
        "UUID",
    ),
)
OPERATORS = (
    *(
        "+",
        "-",
        "*",
        "/",
        "%",
        "//",
        "||",
        "=",
        "<>",
        "<",
        ">=",
        "<=>",
        "AND",
        "OR",
        "XOR",
        "IS NOT DISTINCT FROM",
    ),
    *(
        "LIKE",
        "NOT LIKE",
        "ILIKE",
        "~",
        "!~*",
        "RLIKE",
        "REGEXP",
        "^@",
        "&",
        "|",
        "^",
        "<<",
        "->",
        "COLLATE",
    ),
)
JUNK = (
    "SELECT",
    "FROM x",
    ";",
    "--",
    "/*",
    "*/",
    "(",
    ")",
    "'",
    '"',
    "::",
    "\\",
    "$1",
    "?",
    "@@",
    ",",
    "AS z",
)


def expression(rng: random.Random, depth: int = 4) -> str:
    """An expression, of which one in eight is damaged."""
    made = _part(rng, rng.randrange(depth + 1))
    if rng.random() < 0.12:
        at = rng.randrange(len(made) + 1)
        made = f"{made[:at]} {rng.choice(JUNK)} {made[at + rng.randrange(3) :]}"
    if rng.random() < 0.02:
        made = _large(rng, made)
    return made


def condition(rng: random.Random) -> str:
    """An expression that is likely to be true or false."""
    return f"{_part(rng, 1)} {rng.choice(('=', '<>', '<', '>=', 'LIKE'))} {expression(rng)}"


def _part(rng: random.Random, depth: int) -> str:
    if depth == 0:
        return rng.choice(COLUMNS if rng.random() < 0.6 else LITERALS)
    some = [_part(rng, depth - 1) for _ in range(3)]
    kind = rng.randrange(12)
    if kind < 4:
        return f"({some[0]} {rng.choice(OPERATORS)} {some[1]})"
    if kind < 8:
        return f"{rng.choice(FUNCTIONS)}({', '.join(some[: rng.randrange(4)])})"
    if kind == 8:
        return f"{rng.choice(('CAST', 'TRY_CAST'))}({some[0]} AS {rng.choice(TYPES)})"
    if kind == 9:
        return f"CASE WHEN {some[0]} THEN {some[1]} ELSE {some[2]} END"
    if kind == 10:
        return f"{some[0]} {rng.choice(('IN', 'NOT IN'))} ({some[1]}, {some[2]})"
    return rng.choice(
        (
            f"{some[0]} BETWEEN {some[1]} AND {some[2]}",
            f"{some[0]} IS NOT NULL",
            f"NOT {some[0]}",
            f"EXTRACT({rng.choice(('YEAR', 'EPOCH', 'DOW', 'CENTURY', 'x'))} FROM {some[0]})",
            f"{some[0]}::{rng.choice(TYPES)}",
            f"SUM({some[0]}) OVER (PARTITION BY {some[1]})",
        )
    )


def _large(rng: random.Random, made: str) -> str:
    """A part that grows: its result, its depth or its length."""
    times = rng.choice((3, 10, 40, 300, 2000))
    kind = rng.randrange(6)
    if kind == 0:
        text = "v"
        for _ in range(min(times, 60)):
            text = f"REPLACE({text}, 'a', '{'a' * rng.choice((2, 30, 900))}')"
        return text
    if kind == 1:
        text = "v"
        for _ in range(min(times, 30)):
            text = f"CONCAT({text}, {text})" if len(text) < 20_000 else f"UPPER({text})"
        return text
    if kind == 2:
        return "(" * times + made + ")" * times
    if kind == 3:
        return f" {rng.choice(('AND', '+', '||'))} ".join([made] * times)
    if kind == 4:
        return f"LPAD({'RPAD(' * min(times, 50)}v{', 1000)' * min(times, 50)}, {10**times % 10**12}, 'xy')"
    return f"u IN ({', '.join(repr(str(k)) for k in range(times * 10))})"
