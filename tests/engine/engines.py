"""The tests' engine: its images, where it answers, others beside it."""

import os
from typing import Final

# As `with-docker.sh` imports them; Python's has all of busybox.
BUSYBOX: Final = "muster-test/busybox:1"
PYTHON: Final = "muster-test/python:1"


def docker_host() -> str:
    """Where the engine answers that was started for these tests."""
    return os.environ["MUSTER_TEST_ENGINE"]
