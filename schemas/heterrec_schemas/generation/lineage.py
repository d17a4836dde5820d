"""The place of generations and features in a lineage: a build, and the refreshes that descend from it.

Places count from 0, the first build, to the generation itself.
"""

from heterrec_schemas.manifest import Ancestor, FeatureEntry, Manifest


def whole_lineage(manifest: Manifest) -> list[Ancestor]:
    """The ancestors of a generation, the first build first, and the generation itself."""
    own = Ancestor(generation=manifest.generation, content_sha256=manifest.content_sha256)
    return [*manifest.lineage, own]


def place_of_content(manifest: Manifest, content_sha256: str) -> int | None:
    """The place of the last generation with this content; None if neither the generation nor an ancestor has it."""
    places = [
        place
        for place, known in enumerate(whole_lineage(manifest))
        if known.content_sha256 == content_sha256
    ]
    return places[-1] if places else None


def begun_at(manifest: Manifest, entry: FeatureEntry) -> int:
    """The place of the generation in which the ids of a feature began."""
    return _place(manifest, entry.begun)


def fitted_at(manifest: Manifest, entry: FeatureEntry) -> int:
    """The place of the generation whose vocabulary, boundaries or quantizers a feature has."""
    return _place(manifest, entry.fitted)


def _place(manifest: Manifest, generation: str | None) -> int:
    names = [known.generation for known in whole_lineage(manifest)]
    # None, and any name from outside of the lineage, is the generation itself.
    return names.index(generation) if generation in names else len(names) - 1
