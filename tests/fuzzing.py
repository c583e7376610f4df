"""How long tests guess: a little, and the same, or as long as one likes.

`FUZZ_EXAMPLES=500 python -m pytest tests/routes/test_parsers.py` tries so many
examples of each, other ones each time.
"""

import os

from hypothesis import HealthCheck, Phase, settings

_DEEP = os.environ.get("FUZZ_EXAMPLES")


def examples(count: int, *, steps: int = 50) -> settings:
    """Settings of a test that tries `count` examples where nobody asks.

    Those are the same each time: a test fails by a change alone.

    Args:
        count: of examples.
        steps: of a state machine's example.
    """
    return settings(
        max_examples=int(_DEEP or count),
        stateful_step_count=steps,
        derandomize=_DEEP is None,
        database=None,
        deadline=None,
        # Whole requests are slow to make smaller, and what they say is short.
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
