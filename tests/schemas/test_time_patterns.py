from datetime import datetime

import pytest

from heterrec_schemas.feature_spec.time_patterns import strptime_format


@pytest.mark.parametrize(
    ("pattern", "form", "text"),
    [
        ("yyyy-MM-dd", "%Y-%m-%d", "2026-01-31"),
        ("yyyy-MM-dd HH:mm:ss", "%Y-%m-%d %H:%M:%S", "2026-01-31 23:59:58"),
        ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "%Y-%m-%dT%H:%M:%S.%f%z", "2026-01-31T23:59:58.123+01:00"),
        ("YYYY-MM-DDTHH:mm:ss", "%Y-%m-%dT%H:%M:%S", "2026-01-31T23:59:58"),
        ("dd/MM/yy hh:mm a", "%d/%m/%y %I:%M %p", "31/01/26 11:59 PM"),
        ("EEE, d MMM yyyy", "%a, %d %b %Y", "Sat, 31 Jan 2026"),
        ("yyyyMMddHHmmss", "%Y%m%d%H%M%S", "20260131235958"),
        ("yyyy 'o''clock' H", "%Y o'clock %H", "2026 o'clock 23"),
    ],
)
def test_patterns_of_letters(pattern: str, form: str, text: str) -> None:
    assert strptime_format(pattern) == form
    assert datetime.strptime(text, form).year == 2026


@pytest.mark.parametrize("pattern", ["seconds", "yyyy-ww", "yyyy 'open"])
def test_other_texts_are_no_patterns(pattern: str) -> None:
    assert strptime_format(pattern) is None
