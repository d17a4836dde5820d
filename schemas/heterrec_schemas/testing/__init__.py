"""Valid rows for tests of both sides: a generated shop, its files and spec, and whole generations."""

from heterrec_schemas.testing.child import Changes, child_generation
from heterrec_schemas.testing.files import write_shop
from heterrec_schemas.testing.generation import small_generation
from heterrec_schemas.testing.shop import BEHAVIOURS, Settings, Shop, shop, spec_text

__all__ = [
    "BEHAVIOURS",
    "Changes",
    "Settings",
    "Shop",
    "child_generation",
    "shop",
    "small_generation",
    "spec_text",
    "write_shop",
]
