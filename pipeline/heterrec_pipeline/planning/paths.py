"""Which way each vocabulary takes, and into how many buckets the work is cut: what the build itself has decided."""

from typing import Any

from heterrec_pipeline.planning.memory import largest_bucket
from heterrec_pipeline.planning.output import Surveys
from heterrec_schemas.feature_spec import CategoricalFeature


def paths(found: Surveys) -> dict[str, Any]:
    """The build's decisions as plain data.

    Returns:
        `vocabularies`: name, path (`broadcast`: every worker holds it; `buckets`: none does), buckets, the values that the
        build reckoned with and what that rests on; `user_buckets`, `rows_a_bucket`, and the rows of the largest.
    """
    job = found.job
    sizes, spec = job.sizes, job.spec
    shards = {f"{f.side}/{f.feature.name}": _declared(f.feature) for f in found.features}
    shards["items"] = spec.items.catalogue_vocabulary.shards
    ways = []
    for name, estimate in sorted(sizes.values.items()):
        large = sizes.is_large(name)
        ways.append(
            {
                "vocabulary": name,
                "path": "buckets" if large else "broadcast",
                "buckets": sizes.buckets(name, shards.get(name)) if large else 1,
                "values": estimate.count,
                "basis": estimate.basis,
            }
        )
    buckets = spec.output.sequence_shards * job.buckets
    return {
        "limit": sizes.limit,
        "vocabularies": ways,
        "user_buckets": buckets,
        "rows_a_bucket": round(found.log.shuffled / buckets),
        "largest_bucket_rows": round(largest_bucket(found)),
    }


def _declared(feature: object) -> int | None:
    return feature.shards if isinstance(feature, CategoricalFeature) else None
