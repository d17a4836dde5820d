"""The feature spec, written in YAML; checked when it is loaded, and trusted afterwards."""

from heterrec_schemas.feature_spec.base import (
    FIT_SAMPLE,
    MAX_CODES,
    BaseFeature,
    Format,
    Source,
)
from heterrec_schemas.feature_spec.categorical import CategoricalFeature, VocabularyFile
from heterrec_schemas.feature_spec.codebooks import (
    CodebookEmbedding,
    ProductEmbedding,
    ResidualEmbedding,
)
from heterrec_schemas.feature_spec.embedding import (
    WARN_CODES,
    EmbeddingFeature,
    QuantileEmbedding,
    Reduce,
    dimension_columns,
)
from heterrec_schemas.feature_spec.features import Feature
from heterrec_schemas.feature_spec.limits import Limits
from heterrec_schemas.feature_spec.model import (
    Behaviour,
    Drift,
    Erase,
    FeatureSpec,
    Interactions,
    Items,
    Join,
    KeyList,
    LeaveOneOut,
    Output,
    Rejects,
    Sequences,
    Temporal,
    Timestamp,
    UserIds,
    Users,
    iso_utc,
)
from heterrec_schemas.feature_spec.numeric import NumericFeature
from heterrec_schemas.feature_spec.parameters import with_parameters
from heterrec_schemas.feature_spec.read import (
    SPEC_VERSION,
    describe_mistakes,
    load_spec,
    parse_spec,
    read_spec_text,
    salvage_spec,
    spec_sha256,
)

__all__ = [
    "FIT_SAMPLE",
    "MAX_CODES",
    "SPEC_VERSION",
    "WARN_CODES",
    "BaseFeature",
    "Behaviour",
    "CategoricalFeature",
    "CodebookEmbedding",
    "Drift",
    "EmbeddingFeature",
    "Erase",
    "Feature",
    "FeatureSpec",
    "Format",
    "Interactions",
    "Items",
    "Join",
    "KeyList",
    "LeaveOneOut",
    "Limits",
    "NumericFeature",
    "Output",
    "ProductEmbedding",
    "QuantileEmbedding",
    "Reduce",
    "Rejects",
    "ResidualEmbedding",
    "Sequences",
    "Source",
    "Temporal",
    "Timestamp",
    "UserIds",
    "Users",
    "VocabularyFile",
    "describe_mistakes",
    "dimension_columns",
    "iso_utc",
    "load_spec",
    "parse_spec",
    "read_spec_text",
    "salvage_spec",
    "spec_sha256",
    "with_parameters",
]
