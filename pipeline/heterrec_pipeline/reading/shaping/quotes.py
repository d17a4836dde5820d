"""What to write where an expression has numbers in quotes, or texts without them."""

import re
from collections.abc import Callable

_NUMBER = re.compile(
    r"\"(?:[^\"]|\"\")*\"|'(?P<quoted>-?\d+(?:\.\d+)?)'|'(?:[^']|'')*'|(?P<bare>(?<![\w.])\d+(?:\.\d+)?(?![\w.]))"
)
"""A quoted name, a number in quotes, another text, or a number."""


def quotes_hint(text: str, why: str, reads: Callable[[str], bool]) -> str | None:
    """What to write in place of an expression whose types do not fit; None if quotes do not mend it.

    Args:
        text: the expression.
        why: what Polars says about it.
        reads: whether the types of another expression over these columns fit.
    """
    without = _NUMBER.sub(lambda found: found["quoted"] or found[0], text)
    if without != text and reads(without):
        return f"Numbers have no quotes: write {without}."
    # Elsewhere, as in size > 5, a text is better cast to a number than compared as text.
    if "is_in" in why:
        quoted = _NUMBER.sub(lambda found: f"'{found[0]}'" if found["bare"] else found[0], text)
        if quoted != text and reads(quoted):
            return f"Texts have single quotes: write {quoted}."
    return None
