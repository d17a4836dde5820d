import subprocess
import sys

import heterrec_schemas
from heterrec_schemas import errors

PUBLIC = [
    "FIRST_FREE",
    "FORMAT_VERSION",
    "MISSING",
    "PADDING",
    "SPEC_VERSION",
    "SPLITS",
    "BundleError",
    "CallError",
    "CategoricalFeature",
    "CorruptCheckpointError",
    "CorruptGenerationError",
    "DataError",
    "EmbeddingFeature",
    "Feature",
    "FeatureEntry",
    "FeatureSpec",
    "FileEntry",
    "FormatVersionError",
    "Generation",
    "GenerationError",
    "HeterrecError",
    "Manifest",
    "NotPublishedError",
    "NumericFeature",
    "Reason",
    "RejectRatioError",
    "RunError",
    "SchemaMismatchError",
    "SpecError",
    "UnfinishedGenerationError",
    "UnknownItemError",
    "hash_user",
    "load_spec",
    "open_generation",
    "parse_spec",
    "stable_hash",
]
HEAVY = ["apache_beam", "torch", "sentence_transformers", "pandas", "rich", "hypothesis", "pytest"]


def test_the_public_names_are_pinned() -> None:
    assert sorted(heterrec_schemas.__all__) == sorted(PUBLIC)
    assert [name for name in PUBLIC if not hasattr(heterrec_schemas, name)] == []


def test_the_whole_error_family_is_public() -> None:
    family = {c.__name__ for c in vars(errors).values() if isinstance(c, type)}
    assert {name for name in family if name.endswith("Error")} - {"HeterrecError"} <= set(PUBLIC)


def test_importing_is_light() -> None:
    code = (
        "import heterrec_schemas, heterrec_schemas.testing, sys; "
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
