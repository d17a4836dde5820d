"""The page at /, one file without requests to other hosts."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

_STYLE = re.compile(rb"<style>(.*?)</style>", re.DOTALL)
_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


@cache
def page() -> bytes:
    """The page, HTML in UTF-8."""
    return files("heterrec_model.service").joinpath("page.html").read_bytes()


@cache
def policy() -> str:
    """The content security policy: the page's own script and style, and requests to this service."""
    script, style = (_hashes(pattern) for pattern in (_SCRIPT, _STYLE))
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hashes(pattern: re.Pattern[bytes]) -> str:
    found = (hashlib.sha256(text).digest() for text in pattern.findall(page()))
    return " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in found)
