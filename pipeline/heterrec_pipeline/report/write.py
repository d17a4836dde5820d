"""Write the report of a generation to a file."""

import importlib.util
from pathlib import Path
from uuid import uuid4

from heterrec_pipeline.files import storage
from heterrec_schemas.errors import CallError, with_extra
from heterrec_schemas.generation import open_generation

NAME = "report.html"


def check_matplotlib() -> None:
    """Raises CallError if matplotlib, which draws the pictures, is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise CallError(
            "a report needs matplotlib",
            todo=with_extra("report"),
        )


def write_report(path: str, output: str | None = None, against: str | None = None) -> str:
    """Write the report of a generation, as a whole or not at all.

    Args:
        path: the generation, or an output folder; local or a URI.
        output: the file; None for report.html in the generation's folder, which no check looks at.
        against: another generation to compare it with.

    Returns:
        The path of the file.

    Raises:
        CallError: matplotlib is not installed, the output is a folder, or the generation has no distributions.
        GenerationError: there is no generation, or it is damaged.
        OSError: the file cannot be written.
    """
    check_matplotlib()
    from heterrec_pipeline.report.page import report

    if output is not None and Path(output).is_dir():
        raise CallError(
            f"{output} is a folder",
            expected="the name of a file",
            todo=f"Name a file in it, such as {storage.join(output, NAME)}.",
        )
    generation = open_generation(path, verify="sizes")
    other = None if against is None else open_generation(against, verify="sizes")
    text = report(generation, other)
    target = output if output is not None else generation.locate(NAME)
    storage.replace_bytes(target, text.encode(), uuid4().hex)
    return target
