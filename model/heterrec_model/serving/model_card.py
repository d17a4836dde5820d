"""The model card of a bundle: data, metrics, settings, limits."""

from collections.abc import Iterable

from heterrec_model.bundle.files import BundleInfo
from heterrec_model.evaluation.evaluation_result import Evaluation
from heterrec_model.model_settings import flat_settings
from heterrec_model.runs.load_run import LoadedRun
from heterrec_schemas.generation import Generation


def model_card(
    info: BundleInfo, generation: Generation, loaded: LoadedRun, tested: Evaluation | None
) -> str:
    """The card as Markdown text; `tested` is the evaluation on the test split, None if there was none."""
    manifest, counts, identity = generation.manifest, generation.manifest.counts, info.identity
    features = [
        f"| {e.name} | {e.side} | {e.kind} | {e.vocabulary_size:,} |" for e in manifest.features
    ]
    settings = flat_settings(loaded.config.model_dump(mode="json"))
    split = generation.spec.split.method.replace("_", "-")
    return "\n".join(
        [
            f"# {identity.model} on {manifest.name}",
            "",
            "A sequential recommender: it encodes a history as a vector, whose dot products with the vectors of the items "
            "rank the catalogue."
            + (
                " Items of the user's own history are scored by how often and how recently they occur in it."
                if info.repeats
                else ""
            ),
            "",
            "| | |",
            "|---|---|",
            f"| fingerprint | `{info.fingerprint}` |",
            f"| generation | `{identity.generation}` (content `{identity.content_sha256[:12]}`) |",
            f"| checkpoint | {identity.checkpoint}, weights `{loaded.weights_sha256[:12]}` |",
            f"| exported | {info.created} |",
            f"| exported tower | differs from PyTorch by at most {info.equality.largest_difference:.1e} on "
            f"{info.equality.users:,} users |",
            "",
            "## Data",
            "",
            f"{counts.items.kept:,} items in the catalogue, {counts.interactions.kept:,} interactions, "
            f"{counts.sequences['latest']:,} users with a history of up to {generation.spec.sequences.max_length:,} items; "
            f"{split} split.",
            "",
            "| feature | of | kind | tokens |",
            "|---|---|---|---|",
            *features,
            "",
            "## Metrics",
            "",
            *_metrics(tested),
            "",
            "## Limits",
            "",
            f"- The model reads the last {info.max_length} items of a history. Items that it was not trained on are known by "
            "their features only.",
            "- People without a history get popular items"
            + (f" of their `{info.segment_by}`" if info.segment_by else "")
            + ": no model ranks them.",
            "- Scores order the items of one user. They are no probabilities, and scores of two users, or of two bundles, "
            "cannot be compared.",
            "- What people did decides what is recommended: items that were shown more often are preferred, and rare tastes "
            "are served worse than common ones. Measure this on your own groups of users before you rely on it.",
            *_precision(loaded),
            "",
            "## Settings",
            "",
            "| setting | value |",
            "|---|---|",
            *(f"| {name} | `{value}` |" for name, value in settings.items()),
            "",
        ]
    )


def _metrics(tested: Evaluation | None) -> Iterable[str]:
    if tested is None:
        return ["Not measured at export. `heterrec-model evaluate` measures them."]
    rows = [f"| {name} | {_number(value)} |" for name, value in tested.metrics.items()]
    return [
        f"On the test split: {tested.per_user.users:,} users, {tested.candidates:,} candidates"
        f"{', items of the history left out' if tested.seen_filtered else ''}.",
        "",
        "| metric | value |",
        "|---|---|",
        *rows,
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _precision(loaded: LoadedRun) -> list[str]:
    if loaded.config.train.precision == "float32":
        return []
    return [
        f"- The run was trained with {loaded.config.train.precision}; the exported tower and these metrics are of float32."
    ]
