"""Number of Hypothesis examples: a build takes seconds.

By default few examples, always the same and not shrunk; HETERREC_EXAMPLES asks for a longer soak of
new ones.
"""

import os

from hypothesis import HealthCheck, Phase, settings

EXAMPLES = int(os.environ.get("HETERREC_EXAMPLES", "0"))
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


def profile(examples: int) -> settings:
    """Settings of a test with this number of examples by default."""
    if EXAMPLES:
        return settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=SLOW)
    return settings(
        deadline=None,
        max_examples=examples,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=SLOW,
    )
