"""The files of a path of a source: a file, all files below a folder, or those of a glob, perhaps with braces."""

import glob
import re
from collections.abc import Iterator
from itertools import islice

from heterrec_pipeline.files import storage
from heterrec_schemas.errors import DataError
from heterrec_schemas.stores import FileInfo

_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_MAX_PATTERNS = 10_000
"""Number of paths that the braces of one may mean."""
_BELOW = "**/*"
"""All files below a folder."""


def find_files(base: str, pattern: str) -> tuple[list[FileInfo], bool]:
    """The files that match a path, sorted by path, and whether they are those below a folder.

    A file whose path equals the pattern comes first, then files that match it, then files below the folders that do.

    Args:
        base: the input folder.
        pattern: a path or glob, relative to it; `{a,b}` matches either.

    Raises:
        DataError: its braces mean too many paths.
    """
    pattern = storage.plain_path(pattern)
    if found := storage.matched(base, pattern):
        return found, False
    patterns = list(dict.fromkeys(islice(_alternatives(pattern), _MAX_PATTERNS + 1)))
    if len(patterns) > _MAX_PATTERNS:
        raise DataError(
            f"the braces of {pattern} mean more than {_MAX_PATTERNS:,} paths",
            todo="Write *, or a list of paths.",
        )
    found = [] if patterns == [pattern] else _union(base, patterns)
    if found:
        return found, False
    folders = [_folder(p) for p in [glob.escape(pattern.rstrip("/")), *patterns]]
    return _union(base, list(dict.fromkeys(folders))), True


def _folder(pattern: str) -> str:
    """The pattern of all files below the folders that match a pattern."""
    stem = re.sub(r"^(?:\./)+", "", pattern.rstrip("/"))
    if stem.endswith("**"):
        return f"{stem}/*"
    return _BELOW if stem in ("", ".") else f"{stem}/{_BELOW}"


def _union(base: str, patterns: list[str]) -> list[FileInfo]:
    found = {match.path: match for p in patterns for match in storage.matched(base, p)}
    return [found[path] for path in sorted(found)]


def _alternatives(pattern: str) -> Iterator[str]:
    """The patterns without braces that a pattern with braces means."""
    braces = _BRACES.search(pattern)
    if braces is None:
        yield pattern
        return
    for part in braces[1].split(","):
        yield from _alternatives(pattern[: braces.start()] + part + pattern[braces.end() :])
