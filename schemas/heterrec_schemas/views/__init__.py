"""Views of a generation for other tools: Hugging Face `datasets`, RecBole, RecTools (see docs/views.md).

The libraries are imported by the functions that need them; writing the files needs none of them.
"""

from heterrec_schemas.views.huggingface import dataset_card, to_huggingface, write_huggingface
from heterrec_schemas.views.recbole import write_recbole
from heterrec_schemas.views.rectools import to_rectools

__all__ = [
    "dataset_card",
    "to_huggingface",
    "to_rectools",
    "write_huggingface",
    "write_recbole",
]
