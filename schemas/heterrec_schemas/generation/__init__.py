"""Read a generation: open and verify it, read its tables as Arrow, describe its content in words."""

from heterrec_schemas.generation.describe import (
    features_in_words,
    item_in_words,
    items_in_words,
    name_in_words,
    overview,
    user_in_words,
)
from heterrec_schemas.generation.folder import Folder, open_folder
from heterrec_schemas.generation.reader import Generation, open_generation
from heterrec_schemas.generation.verify import Verify, read_manifest

__all__ = [
    "Folder",
    "Generation",
    "Verify",
    "features_in_words",
    "item_in_words",
    "items_in_words",
    "name_in_words",
    "open_folder",
    "open_generation",
    "overview",
    "read_manifest",
    "user_in_words",
]
