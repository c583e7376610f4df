"""Growth: what each endpoint costs while the community grows a thousandfold.

Three things grow, each in a database of its own: events, members, and the
guests of one event. At each size, each endpoint is asked again and again in one
process, with nothing cached, and the database is asked how it found what it
gave. `python -m bench.growth --help` says more; see README.md beside this file.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from typing import Any, Final

from bench import servers
from config.db import TEST_PREFIX

_SIZES: Final = {
    "events": (1_000, 10_000, 100_000, 1_000_000),
    "members": (1_000, 10_000, 100_000, 1_000_000),
    "guests": (10, 1_000, 10_000, 50_000),
}


def main() -> None:
    """Measures, and prints a table for each thing that grows."""
    options = _options()
    servers.RESULTS.mkdir(exist_ok=True)
    report = servers.RESULTS / "growth.json"
    found: dict[str, Any] = {}
    for growing in options.grow:
        sizes = [size for size in _SIZES[growing] if size <= options.up_to]
        found[growing] = {}
        for size in sizes:
            found[growing][size] = _measure(growing, size, options.rounds)
            report.write_text(json.dumps(found, indent=2), "utf-8")
        _print_table(growing, found[growing])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--grow", nargs="+", choices=list(_SIZES), default=list(_SIZES)
    )
    parser.add_argument("--up-to", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=21)
    return parser.parse_args()


def _measure(growing: str, size: int, rounds: int) -> dict[str, Any]:
    """What each endpoint costs, in a process with settings of its own."""
    print(f"bench: {size} {growing} …", file=sys.stderr)
    name = f"growth_{growing}_{size}"
    with servers.database(servers.RESULTS / f"data-{name}") as uri:
        said = subprocess.run(
            [sys.executable, "-m", "bench.growth_side", growing, str(size),
             str(rounds)],
            cwd=servers.REPOSITORY,
            env={
                **os.environ,
                "ENVIRONMENT": "development",
                "DATA_DIR": str(servers.RESULTS / f"data-{name}"),
                "JWT_SECRET_KEY": "the benchmark's own, known to everybody",
                "SESSION_ENGINE": "off",
                "LOG_REQUESTS": "false",
                "RATE_LIMIT_ANONYMOUS": "100000000/3600",
                "RATE_LIMIT_DEFAULT": "100000000/3600",
                "MONGO_DB_URI": uri,
                "MONGO_DB_NAME": f"{TEST_PREFIX}{name}",
            },
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout  # fmt: skip
    costs: dict[str, Any] = json.loads(said.splitlines()[-1])
    return costs


def _print_table(growing: str, found: dict[int, dict[str, Any]]) -> None:
    rows: dict[str, list[str]] = defaultdict(list)
    for costs in found.values():
        for endpoint, cost in costs.items():
            rows[endpoint].append(_told(cost))
    sizes = " | ".join(f"{size:,}" for size in found)
    print(
        f"\n| {growing}: ms (the first), commands, documents | {sizes} |"
    )
    print(f"|---{'|---' * len(found)}|")
    for endpoint, cells in rows.items():
        print(f"| {endpoint} | {' | '.join(cells)} |")


def _told(cost: dict[str, Any]) -> str:
    """What one endpoint cost at one size."""
    if "refused" in cost:
        return f"refused: {cost['refused']}"
    told = f"{cost['ms']:.1f} ms ({cost['first']:.1f})"
    return f"{told}, {cost['commands']}, {cost['examined']}"


if __name__ == "__main__":
    main()
