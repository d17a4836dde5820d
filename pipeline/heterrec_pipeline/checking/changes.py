"""What the spec of a refresh may change: a feature keeps the meaning of its tokens, or takes another name.

Specs are compared filled in with their defaults.
"""

from collections.abc import Collection, Iterator
from typing import Any

from heterrec_pipeline.parent import Parent
from heterrec_schemas.errors import CallError, HeterrecError, SpecError, suggest
from heterrec_schemas.feature_spec import CategoricalFeature, Feature, FeatureSpec

KEPT = ("multivalued", "nested", "separator", "oov_buckets", "shards", "vocabulary")
"""Settings of a feature that no refresh changes."""
FITTED = (
    "bins",
    "boundaries",
    "fit_sample",
    "quantizer",
    "dim",
    "groups",
    "quantiles",
    "levels",
    "codes",
    "reduce",
)
"""Settings of a feature that only a refit changes."""
_ANOTHER_NAME = "Give the feature another name"
_BUILD = "Build anew"


def features_of(spec: FeatureSpec) -> dict[str, Feature]:
    """All features by `item/<feature>` or `user/<feature>`."""
    sides = (("item", spec.items.features), ("user", spec.user_features))
    return {f"{side}/{f.name}": f for side, features in sides for f in features}


def without_vocabularies(spec: FeatureSpec, begun: Collection[str]) -> FeatureSpec:
    """The spec without the vocabulary files of features that have ids already: a refresh does not read them again.

    Args:
        spec: the spec.
        begun: these features, as `item/<feature>` or `user/<feature>`.
    """

    def rest(side: str, features: list[Feature]) -> dict[str, list[Feature]]:
        return {
            "features": [
                f.model_copy(update={"vocabulary": None})
                if isinstance(f, CategoricalFeature) and f"{side}/{f.name}" in begun
                else f
                for f in features
            ]
        }

    parts: dict[str, Any] = {
        "items": spec.items.model_copy(update=rest("item", spec.items.features))
    }
    if spec.user_table is not None:
        parts["users"] = spec.user_table.model_copy(update=rest("user", spec.user_features))
    return spec.model_copy(update=parts)


def call_name(feature: str) -> str:
    """The name that a call gives a feature `item/<feature>` or `user/<feature>`: that of its files."""
    return feature.removeprefix("item/").replace("user/", "user_", 1)


def feature_of_call(name: str) -> str:
    """The feature `item/<feature>` or `user/<feature>` that a call names."""
    return f"user/{name.removeprefix('user_')}" if name.startswith("user_") else f"item/{name}"


def refused_changes(
    parent: Parent, spec: FeatureSpec, refit: Collection[str]
) -> Iterator[HeterrecError]:
    """The mistakes in the spec and the call of a refresh.

    Args:
        parent: the generation to continue.
        spec: the spec of the refresh.
        refit: the features to fit anew, as `item/<feature>` or `user/<feature>`.
    """
    yield from _refused_refits(parent, spec, refit)
    before, now = features_of(parent.spec), features_of(spec)
    for name in now:
        if name in before:
            yield from _feature_changes(name, before[name], now[name], refit=name in refit)
    old, new = (s.items.catalogue_vocabulary.model_dump() for s in (parent.spec, spec))
    yield from _changes("items.catalogue_vocabulary", old, new, _BUILD)
    yield from _behaviour_changes(parent.spec, spec)


def _refused_refits(
    parent: Parent, spec: FeatureSpec, refit: Collection[str]
) -> Iterator[HeterrecError]:
    now = features_of(spec)
    known = [call_name(n) for n, f in now.items() if not isinstance(f, CategoricalFeature)]
    for name in sorted(refit):
        shown = call_name(name)
        if name not in now:
            yield CallError(f"--refit: there is no feature {shown!r}", todo=suggest(shown, known))
        elif isinstance(now[name], CategoricalFeature):
            yield CallError(
                f"--refit: the feature {shown!r} is categorical, and its ids never move",
                todo="Give it another name, which begins a new vocabulary.",
            )
        elif name not in parent.features:
            yield CallError(
                f"--refit: the feature {shown!r} is new, so it is fitted anyway",
                todo="Leave it out of --refit.",
            )


def _feature_changes(
    name: str, before: Feature, now: Feature, *, refit: bool
) -> Iterator[HeterrecError]:
    shown = call_name(name)
    old, new = _settings(before), _settings(now)
    if before.kind != now.kind:
        yield _refusal(f"feature {shown!r}: kind", before.kind, now.kind, _ANOTHER_NAME)
        return
    yield from _changes(f"feature {shown!r}", old, new, _ANOTHER_NAME, KEPT)
    if not refit:
        advice = f"Fit it anew with --refit {shown}, or give it another name"
        yield from _changes(f"feature {shown!r}", old, new, advice, FITTED)


def _settings(feature: Feature) -> dict[str, Any]:
    """The settings of a feature, filled in with defaults."""
    settings = feature.model_dump()
    if isinstance(feature, CategoricalFeature) and feature.multivalued:
        settings["nested"] = feature.nested or "nodes"
    return settings


def _changes(
    where: str,
    before: dict[str, Any],
    now: dict[str, Any],
    advice: str,
    keys: Collection[str] | None = None,
) -> Iterator[HeterrecError]:
    """The settings whose values differ."""
    for key in now if keys is None else keys:
        if before.get(key) != now.get(key):
            yield _refusal(f"{where}: {key}", before.get(key), now.get(key), advice)


def _refusal(what: str, before: object, now: object, advice: str) -> SpecError:
    got, expected = ("none" if v is None else repr(v) for v in (now, before))
    return SpecError(f"{what} is not the parent's", got=got, expected=expected, todo=f"{advice}.")


def _behaviour_changes(before: FeatureSpec, now: FeatureSpec) -> Iterator[HeterrecError]:
    old, new = (
        s.interactions.behaviour.values if s.interactions.behaviour else None for s in (before, now)
    )
    if (old is None) != (new is None):
        yield _refusal("interactions.behaviour", old, new, _BUILD)
    elif old is not None and new is not None and new[: len(old)] != old:
        yield SpecError(
            "interactions.behaviour.values differ from the parent's, whose ids are their positions",
            got=repr(new),
            expected=f"{old!r}, then further values",
            todo="Append new values at the end, or build anew.",
        )


def ended_features(parent: Parent, spec: FeatureSpec) -> list[str]:
    """The features of the parent that the spec does not name, as a call names them."""
    now = features_of(spec)
    return [call_name(name) for name in parent.features if name not in now]
