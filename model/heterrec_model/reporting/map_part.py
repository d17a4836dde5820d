"""The item vectors in the plane of their two principal components, coloured by a categorical feature.

Shapes: N catalogue items, D width, S items that are drawn.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from heterrec_model.reporting.measured import MeasuredRun
from heterrec_schemas.errors import CallError, suggest
from heterrec_schemas.feature_spec import CategoricalFeature
from heterrec_schemas.generation import Generation
from heterrec_schemas.generation.decode import MISSING_WORDS, decode_cells
from heterrec_schemas.pages.charts import scatter
from heterrec_schemas.pages.html import Section, charts, note, paragraph

DRAWN = 1500
"""Maximum number of items that are drawn."""
VALUES = 6
"""Number of the most frequent values with a colour of their own."""
OTHER = "other"
Floats = npt.NDArray[np.float64]


def map_part(measured: MeasuredRun) -> Section:
    """The map of the items.

    Raises:
        CallError: `wanted.feature` is no categorical feature of the items.
    """
    vectors_ND = measured.scorer.items_ND.cpu().numpy().astype(np.float64)
    title = "Item vectors in a plane"
    if min(vectors_ND.shape) < 2:
        return Section(title, [note("There are too few items or dimensions for a plane.")])
    position_S = drawn_items(len(vectors_ND))
    item_S = measured.scorer.table.catalogue_N[position_S].tolist()
    found = _coloured(measured.generation, item_S, measured.wanted.feature)
    if found is None:
        text = "The items of this generation have no categorical feature to colour them by; add one to the spec."
        return Section(title, [note(text)])
    name, words_S = found
    plane_N2, shares = plane(vectors_ND)
    groups = _groups(words_S, plane_N2[position_S])
    said = ", ".join(f"{value} ({len(x):,})" for value, (x, _) in groups.items())
    words = (
        f"{len(position_S):,} items in the plane of the two principal components, which have {shares.sum():.1%} of the "
        f"variance of the item vectors, by {name}: {said}."
    )
    axes = (f"component 1 ({shares[0]:.1%})", f"component 2 ({shares[1]:.1%})")
    about = (
        f"{len(position_S):,} of {len(vectors_ND):,} items, with colours and markers for the {VALUES} most frequent values "
        f"of {name} among them. Items that the model holds for similar are near each other, as far as two of "
        f"{vectors_ND.shape[1]} dimensions show it."
    )
    return Section(
        title, [paragraph(about), charts([(f"Items by {name}", scatter(groups, axes, words))])]
    )


def drawn_items(items: int) -> npt.NDArray[np.int64]:
    """Positions of the items that are drawn, ascending: all, or a sample that depends on their number alone."""
    if items <= DRAWN:
        return np.arange(items)
    return np.sort(np.random.default_rng(0).choice(items, DRAWN, replace=False))


def plane(vectors_ND: Floats) -> tuple[Floats, Floats]:
    """The two principal components of vectors, and their shares of the variance.

    The greatest loading of a component is positive, so that equal vectors give equal signs.

    Returns:
        [N, 2] and [2].
    """
    centred_ND = vectors_ND - vectors_ND.mean(axis=0)
    _, variance_D, axes_DD = np.linalg.svd(centred_ND.T @ centred_ND, hermitian=True)
    axes_2D = axes_DD[:2]
    greatest_2 = np.abs(axes_2D).round(9).argmax(axis=1)
    axes_2D = axes_2D * np.where(axes_2D[np.arange(2), greatest_2] < 0, -1.0, 1.0)[:, None]
    return centred_ND @ axes_2D.T, variance_D[:2] / max(variance_D.sum(), 1e-300)


def _groups(words_S: Sequence[str], plane_S2: Floats) -> dict[str, tuple[list[float], list[float]]]:
    """Points by value, the most frequent first, then the others."""
    names = _frequent(words_S)
    group_S = np.array([names.index(w) if w in names else len(names) for w in words_S])
    found = {}
    for n, name in enumerate([*names, OTHER]):
        points = plane_S2[group_S == n]
        if len(points):
            found[name] = (points[:, 0].tolist(), points[:, 1].tolist())
    return found


def _frequent(words_S: Sequence[str]) -> list[str]:
    counts = Counter(w for w in words_S if w != MISSING_WORDS)
    return sorted(counts, key=lambda w: (-counts[w], w))[:VALUES]


def _coloured(
    generation: Generation, items: Sequence[int], wanted: str | None
) -> tuple[str, list[str]] | None:
    """A feature and its value in words for every item; None without a categorical feature."""
    features = [f for f in generation.spec.items.features if isinstance(f, CategoricalFeature)]
    names = [f.name for f in features]
    if wanted is not None and wanted not in names:
        raise CallError(
            f"the items have no categorical feature {wanted!r}", todo=suggest(wanted, names)
        )
    values = dict(_values(generation, items, [wanted] if wanted else names))
    if not values:
        return None
    name = max(values, key=lambda n: (_told_apart(values[n]), -names.index(n)))
    return name, values[name]


def _told_apart(words: Sequence[str]) -> int:
    """Number of items with a frequent value, but the most frequent one: few if nearly all items are alike, or all differ."""
    counts = Counter(words)
    return sum(counts[w] for w in _frequent(words)[1:])


def _values(
    generation: Generation, items: Sequence[int], names: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    """The value of every item by feature; of several values the first one."""
    shards = generation.known_item_shards()
    rows = generation.rows(shards, "item_index", set(items), ["item_index", *names])
    rows = rows.sort_by("item_index")
    for name in names:
        feature = generation.feature(name)
        cells = rows[name].to_pylist()
        if getattr(feature, "multivalued", False):
            cells = [cell[:1] for cell in cells]
        yield (
            name,
            [cell["words"] or MISSING_WORDS for cell in decode_cells(generation, name, cells)],
        )
