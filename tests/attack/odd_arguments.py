"""Argument lists of both command lines: options of each command, in any number, with values of any kind."""

import random
from typing import Any

import odd_values
import typer

_NUMBERS = (
    "0",
    "-1",
    "1",
    "2",
    "7",
    "1000000000",
    "9" * 30,
    "1e3",
    "1e400",
    "nan",
    "inf",
    "0.5",
    "-0",
    "٣",
    "",
    "x",
)
_TEXTS = (
    *(
        "",
        " ",
        "-",
        "--",
        "--help",
        "a",
        "x" * 5000,
        "é",
        "\u202e",
        "\n",
        "\x1b[31m",
        "best",
        "step-2",
        "step-x",
    ),
    *(
        "a=b",
        "=",
        "a=",
        "=b",
        "a.b=c",
        "train.epochs=[",
        "train.epochs=-1",
        "model.width=1e9",
        "x.y=&a [*a]",
    ),
    *(
        "train.seed=nan",
        "model={}",
        "train.learning_rate=inf",
        "data.batch_items=0",
        "negatives=3",
        "a,b",
        ",",
        "all",
    ),
    *(
        "1/0",
        "0/1",
        "3/2",
        "1/1",
        "-1/5",
        "validation",
        "test",
        "local",
        "dask",
        "prism",
        "7d",
        "-7d",
        "1e99d",
    ),
)
_PLACES = (
    *(
        ".",
        "..",
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "nothing",
        "file.csv",
        "file.csv/x",
        "folder",
        "pipe",
    ),
    *(
        "a" * 300,
        "not\nthere",
        "file:///x",
        "http://127.0.0.1:1/x",
        "ftp://u:secret@127.0.0.1/x",
        "hdfs://x",
        "C:\\x",
    ),
    *(
        "s3://",
        "gs://",
        "s3:///x",
        "gs://a b/c",
        "://",
        "data",
        "spec.yaml",
        "run",
        "bundle",
        "empty",
    ),
)
NOT_HERE = frozenset({"serve", "embed", "tune", "study"})
"""Commands with tests of their own: they listen, load models, or start many processes."""
_SWITCHES = frozenset({"--help", "--version", "--debug", "--runner", "--host"})


def commands(app: Any) -> dict[str, Any]:
    """The commands of a Typer app by name."""
    group: Any = typer.main.get_command(app)
    return {name: one for name, one in group.commands.items() if name not in NOT_HERE}


def arguments(rng: random.Random, command: Any, sound: dict[str, list[str]]) -> list[str]:
    """Arguments of a command.

    Args:
        command: the command.
        sound: values that exist, by option; most required options get one of them.
    """
    found: list[str] = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            found.append(_value(rng, parameter, sound, 0.4))
            continue
        name = rng.choice([o for o in parameter.opts if o.startswith("-")] or [""])
        chance = 0.95 if parameter.required or name in sound else 0.12
        for _ in range(rng.choice((1, 1, 1, 1, 2))):
            if name in _SWITCHES or not name or rng.random() > chance:
                continue
            if parameter.is_flag:
                found.append(rng.choice([*parameter.opts, *parameter.secondary_opts]))
            else:
                found += [name, _value(rng, parameter, sound, 0.25)]
    if rng.random() < 0.08:
        found.insert(rng.randrange(len(found) + 1), rng.choice((*_TEXTS, "--x", "-k", "--seed=1")))
    return found


def _value(rng: random.Random, parameter: Any, sound: dict[str, list[str]], odd: float) -> str:
    name = parameter.opts[0]
    if name in sound and rng.random() > odd:
        return rng.choice(sound[name])
    pool = rng.choice((_NUMBERS, _TEXTS, _TEXTS, _PLACES, odd_values.TEXTS))
    text = rng.choice(pool)
    if not text.strip("/"):
        text = "."
    # No argument of a process has a NUL or half of a surrogate pair.
    return text.replace("\x00", "0").encode("utf-8", "replace").decode()
