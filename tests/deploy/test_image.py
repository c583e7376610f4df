"""The image's parts: what a build would take is what the repository says.

The image itself is built and run by tests/engine/test_image.py.
"""

import re

from tests.service.running import REPOSITORY

_DOCKERFILE = (REPOSITORY / "deploy/Dockerfile").read_text("utf-8")


def _pins(name: str) -> set[str]:
    """The packages that a file names, each with its version."""
    text = (REPOSITORY / name).read_text("utf-8")
    return {
        re.sub(r"\[.*\]", "", pin).lower().replace("_", "-")
        for pin in re.findall(r"^([\w.\[\]-]+==[\w.]+)", text, re.M)
    }


def test_lock_is_of_these_requirements() -> None:
    """`python -m deploy.lock` makes it anew."""
    wanted = _pins("requirements.txt") | _pins(
        "deploy/requirements-lambda.txt"
    )
    assert _pins("deploy/requirements.lock") == wanted


def test_tests_have_what_the_image_has() -> None:
    assert _pins("deploy/requirements-lambda.txt") <= _pins(
        "requirements-dev.txt"
    )


def test_every_package_has_a_hash() -> None:
    text = (REPOSITORY / "deploy/requirements.lock").read_text("utf-8")
    for entry in re.split(r"\n(?=\w)", text)[1:]:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_what_is_copied_is_let_in() -> None:
    """`.dockerignore` names all that the build takes, and nothing else."""
    ignored = (REPOSITORY / ".dockerignore").read_text("utf-8")
    let_in = {
        line[1:].partition("/")[0]
        for line in ignored.splitlines()
        if line.startswith("!")
    }
    copied = {
        path.partition("/")[0]
        for path in re.findall(r"^COPY ([\w./]+) ", _DOCKERFILE, re.M)
    }
    assert copied == let_in
    assert all((REPOSITORY / name).exists() for name in copied)


def test_rooms_are_whole() -> None:
    rooms = {
        path.parent.name
        for path in REPOSITORY.glob("*/__init__.py")
        if path.parent.name not in ("tests", "bench")
    }
    copied = set(re.findall(r"^COPY (\w+) ", _DOCKERFILE, re.M))
    assert copied == rooms
