"""Which files of the repository are pages of the site, and links between them."""

import re
from collections.abc import Callable
from posixpath import dirname, join, normpath, relpath

_FIXED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
_INLINE_LINK = re.compile(r"(?<=\])\((?!\w+:)([^)#\s]*)(#[^)\s]*)?\)")
_MERMAID = re.compile(r"```mermaid\n.*?\n```\n(?:\nThe same as text:\n)?\n?", re.DOTALL)
_MARKER = re.compile(r"(?:[-*]|\d+\.) ")
_LANGUAGES = {
    ".csv": "text", ".json": "json", ".md": "markdown", ".py": "python", ".sh": "sh", ".yaml": "yaml",
}  # fmt: skip


def page_of(source: str) -> str:
    """Where the site has a file of the repository: a Markdown file as it is, others as a page that shows their text."""
    if source in _FIXED:
        return _FIXED[source]
    if not source.endswith(".md"):
        return f"files/{source}.md"
    if source.startswith("docs/"):
        return source.removeprefix("docs/").replace("README.md", "index.md")
    return source.replace("/README.md", ".md")


def as_page(source: str, text: str) -> str:
    """The Markdown of a file that is not Markdown."""
    ending = source[source.rindex(".") :] if "." in source.rpartition("/")[2] else ""
    body = text.rstrip("\n")
    return f"# {source}\n\n`````{_LANGUAGES.get(ending, 'text')}\n{body}\n`````\n"


def for_site(source: str, text: str, exists: Callable[[str], bool]) -> tuple[str, list[str]]:
    """The text of a Markdown file with its links as the site needs them.

    Diagrams in Mermaid are left out: the code host draws them, but in a site that would take a script of three
    megabytes from another host; each is followed by the same as text.

    Args:
        source: its path in the repository.
        text: the file's text.
        exists: whether a path of the repository is a file.

    Returns:
        The text, and the files of the repository to which it links.
    """
    targets: list[str] = []

    def mended(match: re.Match[str]) -> str:
        path, anchor = match[1], match[2] or ""
        if not path:
            return match[0]
        target = normpath(join(dirname(source), path))
        if not exists(target) and exists(f"{target}/README.md"):
            target += "/README.md"
        if not exists(target):
            return match[0]  # reported as a broken link by the generator
        targets.append(target)
        return f"({relpath(page_of(target), dirname(page_of(source)) or '.')}{anchor})"

    return _INLINE_LINK.sub(mended, _with_wide_lists(_MERMAID.sub("", text))), targets


def _with_wide_lists(text: str) -> str:
    """The text with lists as Python-Markdown needs them, which the code host takes as they are.

    The insides of a list are indented by four spaces in place of two or three; a list, and an item after one of several
    paragraphs, follow an empty line.
    """
    lines: list[str] = []
    width, fenced, paragraphs = 0, False, False
    for line in text.splitlines():
        if marker := None if fenced else _MARKER.match(line):
            if lines and lines[-1] and (paragraphs if width else line[0] in "-*1"):
                lines.append("")
            width, paragraphs = marker.end(), False
        elif line[:1].strip():
            width = 0
        fenced ^= line.startswith("```")
        paragraphs |= not line
        lines.append("    " + line[width:] if width and line.startswith(" " * width) else line)
    return "\n".join(lines) + "\n"
