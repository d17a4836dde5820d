"""Contradictory options are refused."""

from dataclasses import replace
from typing import Any

import pytest

from heterrec_pipeline.embed import EmbedConfig
from heterrec_schemas.errors import CallError


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"text_columns": ()}, "nothing to embed"),
        ({"text_columns": ("a b", "a/b")}, "share its shards' name"),
        ({"text_columns": ("a",), "key": "a_embedding"}, "as the vectors would be"),
        ({"batch_size": 0}, "batch_size is out of range: got 0, expected 1 to 65,536"),
        ({"max_shard_texts": 10**22}, "max_shard_texts is out of range"),
        ({"threads": 10**9}, "threads is out of range"),
        ({"max_reject_ratio": float("nan")}, "max_reject_ratio is out of range: got nan"),
        ({"prompt": "p", "prompt_name": "q"}, "both prompt and prompt_name"),
        ({"image_columns": ("i",), "prompt": "p"}, "images take no prompt"),
    ],
)
def test_a_config_refuses_what_cannot_be_meant(
    config: EmbedConfig, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(CallError, match=says):
        replace(config, **change)
