"""Writes the hashes of the packages that the image is made of.

    python -m deploy.lock

It asks pip, which downloads nothing, which wheel of each package in
`requirements.txt` is for Python 3.11 on Linux, and writes what they are into
`deploy/requirements.lock`. The image takes these and no others.
"""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
LOCK: Final = ROOT / "deploy/requirements.lock"
REQUIREMENTS: Final = ("requirements.txt", "deploy/requirements-lambda.txt")
# The newest glibc first: pip takes the first that there is.
_MACHINES: Final = ("x86_64", "aarch64")
_PLATFORMS: Final = ("manylinux_2_28", "manylinux_2_27", "manylinux2014",
                     "manylinux_2_17")  # fmt: skip


def main() -> None:
    """The command."""
    hashes: dict[str, set[str]] = defaultdict(set)
    for machine in _MACHINES:
        for item in _report(machine)["install"]:
            metadata = item["metadata"]
            archive = item["download_info"]["archive_info"]
            name = f"{metadata['name']}=={metadata['version']}"
            hashes[name].add(archive["hashes"]["sha256"])
    lines = ["# Made by `python -m deploy.lock` from requirements.txt."]
    for name in sorted(hashes, key=str.lower):
        parts = [name, *(f"--hash=sha256:{h}" for h in sorted(hashes[name]))]
        lines.append(" \\\n    ".join(parts))
    LOCK.write_text("\n".join(lines) + "\n", "utf-8")
    print(f"{len(hashes)} packages are in {LOCK.relative_to(ROOT)}")


def _report(machine: str) -> Any:
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = [f"--platform={each}_{machine}" for each in _PLATFORMS]
        for name in REQUIREMENTS:
            options += ["--requirement", str(ROOT / name)]
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run",
             "--ignore-installed", "--no-deps", "--only-binary=:all:",
             "--python-version=3.11", "--implementation=cp",
             f"--target={folder}/packages", f"--report={report}", *options],
            check=True,
        )  # fmt: skip
        return json.loads(report.read_text("utf-8"))


if __name__ == "__main__":
    main()
