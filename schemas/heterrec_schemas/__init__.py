"""The contract between the pipeline, which writes generations, and the model, which reads them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heterrec_schemas.errors import BundleError as BundleError
    from heterrec_schemas.errors import CallError as CallError
    from heterrec_schemas.errors import CorruptCheckpointError as CorruptCheckpointError
    from heterrec_schemas.errors import CorruptGenerationError as CorruptGenerationError
    from heterrec_schemas.errors import DataError as DataError
    from heterrec_schemas.errors import FormatVersionError as FormatVersionError
    from heterrec_schemas.errors import GenerationError as GenerationError
    from heterrec_schemas.errors import HeterrecError as HeterrecError
    from heterrec_schemas.errors import NotPublishedError as NotPublishedError
    from heterrec_schemas.errors import RejectRatioError as RejectRatioError
    from heterrec_schemas.errors import RunError as RunError
    from heterrec_schemas.errors import SchemaMismatchError as SchemaMismatchError
    from heterrec_schemas.errors import SpecError as SpecError
    from heterrec_schemas.errors import UnfinishedGenerationError as UnfinishedGenerationError
    from heterrec_schemas.errors import UnknownItemError as UnknownItemError
    from heterrec_schemas.feature_spec import SPEC_VERSION as SPEC_VERSION
    from heterrec_schemas.feature_spec import CategoricalFeature as CategoricalFeature
    from heterrec_schemas.feature_spec import EmbeddingFeature as EmbeddingFeature
    from heterrec_schemas.feature_spec import Feature as Feature
    from heterrec_schemas.feature_spec import FeatureSpec as FeatureSpec
    from heterrec_schemas.feature_spec import NumericFeature as NumericFeature
    from heterrec_schemas.feature_spec import load_spec as load_spec
    from heterrec_schemas.feature_spec import parse_spec as parse_spec
    from heterrec_schemas.generation import Generation as Generation
    from heterrec_schemas.generation import open_generation as open_generation
    from heterrec_schemas.hashing import stable_hash as stable_hash
    from heterrec_schemas.manifest import FORMAT_VERSION as FORMAT_VERSION
    from heterrec_schemas.manifest import SPLITS as SPLITS
    from heterrec_schemas.manifest import FeatureEntry as FeatureEntry
    from heterrec_schemas.manifest import FileEntry as FileEntry
    from heterrec_schemas.manifest import Manifest as Manifest
    from heterrec_schemas.rejects import Reason as Reason
    from heterrec_schemas.tokens import FIRST_FREE as FIRST_FREE
    from heterrec_schemas.tokens import MISSING as MISSING
    from heterrec_schemas.tokens import PADDING as PADDING
    from heterrec_schemas.user_ids import hash_user as hash_user

_NAMES = {
    "errors": (
        "BundleError CallError CorruptCheckpointError CorruptGenerationError DataError FormatVersionError "
        "GenerationError "
        "HeterrecError NotPublishedError RejectRatioError RunError SchemaMismatchError SpecError "
        "UnfinishedGenerationError UnknownItemError"
    ),
    "feature_spec": (
        "SPEC_VERSION CategoricalFeature EmbeddingFeature Feature FeatureSpec NumericFeature load_spec parse_spec"
    ),
    "generation": "Generation open_generation",
    "hashing": "stable_hash",
    "manifest": "FORMAT_VERSION SPLITS FeatureEntry FileEntry Manifest",
    "rejects": "Reason",
    "tokens": "FIRST_FREE MISSING PADDING",
    "user_ids": "hash_user",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name on first use: commands handle signals before Arrow and polars are imported."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return globals()[name]


def __dir__() -> list[str]:
    """The public names."""
    return __all__
