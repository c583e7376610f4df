"""The tests' own engine answers, has its images, and is nobody else's."""

import pytest

from tests.engine.engines import BUSYBOX, PYTHON, docker

pytestmark = pytest.mark.engine


@pytest.mark.parametrize(
    ("image", "command"),
    [(BUSYBOX, ["echo", "here"]), (PYTHON, ["python3", "-c", "print('here')"])],
)
async def test_images(image: str, command: list[str]) -> None:
    """Containers of both images run."""
    assert await docker("run", "--rm", image, *command) == "here\n"


async def test_gpus() -> None:
    """A container that asks for a GPU is told which it has."""
    device = "device=GPU-test-1"
    said = await docker("run", "--rm", "--gpus", device, BUSYBOX, "env")
    assert "NVIDIA_VISIBLE_DEVICES=GPU-test-1" in said.split()
