"""The contract between the pipeline, which writes generations, and the model, which reads them."""

from heterrec_schemas.errors import (
    CallError,
    CorruptCheckpointError,
    CorruptGenerationError,
    DataError,
    FormatVersionError,
    GenerationError,
    HeterrecError,
    RejectRatioError,
    RunError,
    SchemaMismatchError,
    SpecError,
    UnfinishedGenerationError,
)
from heterrec_schemas.feature_spec import (
    SPEC_VERSION,
    CategoricalFeature,
    EmbeddingFeature,
    Feature,
    FeatureSpec,
    NumericFeature,
    load_spec,
    parse_spec,
)
from heterrec_schemas.generation import Generation, open_generation
from heterrec_schemas.hashing import stable_hash
from heterrec_schemas.manifest import FORMAT_VERSION, SPLITS, FeatureEntry, FileEntry, Manifest
from heterrec_schemas.rejects import Reason
from heterrec_schemas.tokens import FIRST_FREE, MISSING, PADDING

__all__ = [
    "FIRST_FREE",
    "FORMAT_VERSION",
    "MISSING",
    "PADDING",
    "SPEC_VERSION",
    "SPLITS",
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
    "NumericFeature",
    "Reason",
    "RejectRatioError",
    "RunError",
    "SchemaMismatchError",
    "SpecError",
    "UnfinishedGenerationError",
    "load_spec",
    "open_generation",
    "parse_spec",
    "stable_hash",
]
