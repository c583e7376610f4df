"""Reads: what Muster's cost, beside a bare FastAPI app with one PyMongo read.

`python -m bench.reads` starts both, and the bare app inside Muster's pipeline;
it asks them in turn and prints a table. `--profile` also says in which layer of
each app the time went. See README.md.
"""

import argparse
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from bench import layers, load, servers
from bench.load import Request, Sample
from bench.ratios import median_of, ratios
from bench.servers import Server
from config import db

# Paris, where bench/fill.py puts one of its clusters.
_NEAR: Final = "near=48.87,2.33&limit=20"

_HEADINGS: Final = (
    "case", "app", "requests/s", "CPU µs", "p50 ms", "p99 ms"
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One question to both apps, at the path that each has for it."""

    name: str
    muster_path: str
    bare_path: str
    headers: dict[str, str] = field(default_factory=dict)
    connections: int = 16

    def request_to(self, server: Server) -> Request:
        """What to ask `server` for."""
        path = self.muster_path if server.name == "muster" else self.bare_path
        return Request(path, self.headers, self.connections)


def main() -> None:
    """Measures, and prints."""
    options = _options()
    load.require_wrk()
    if options.profile:
        layers.require_sampler()
    with _environment(options.events) as environment, ExitStack() as stack:
        cases = _cases(environment, options.events)
        muster, piped, bare = [
            stack.enter_context(
                start(environment, access_log=options.access_log)
            )
            for start in (servers.muster, servers.piped, servers.bare)
        ]
        # What the pipeline alone costs, and then what Muster costs in all.
        rows = [(case, [muster, bare]) for case in cases]
        rows.insert(0, (cases[0], [piped, bare]))
        for case, pair in rows:
            _check_same_answer(case, pair)
        _print_heading(options)
        for case, pair in rows:
            _print_case(case, pair, _measure(case, pair, options))
        if options.profile:
            for case, pair in rows[:2]:
                _profile(case, pair, options.seconds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=5, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--access-log", action="store_true", help="both apps write theirs"
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="where the anonymous read's time goes (needs py-spy)",
    )
    return parser.parse_args()


@contextmanager
def _environment(count: int) -> Iterator[dict[str, str]]:
    """The settings of all processes, with a database that is there."""
    servers.RESULTS.mkdir(exist_ok=True)
    data_dir = servers.RESULTS / f"data-{count}"
    environment = {
        "ENVIRONMENT": "development",
        "DATA_DIR": str(data_dir),
        "JWT_SECRET_KEY": "the benchmark's own key, known to everybody",
        "ACCESS_TOKEN_MINUTES": "600",
        # Every request is counted, and none refused.
        "RATE_LIMIT_ANONYMOUS": "100000000/3600",
        "RATE_LIMIT_DEFAULT": "100000000/3600",
    }
    external = "MONGO_DB_URI" in os.environ
    name = f"bench_{count}" if external else "bench"
    with servers.database(data_dir) as uri:
        yield {
            **environment,
            "MONGO_DB_URI": uri,
            "MONGO_DB_NAME": f"{db.TEST_PREFIX}{name}",
        }


def _cases(environment: dict[str, str], count: int) -> list[Case]:
    print(f"bench: {count} events (filled at the first run) …", file=sys.stderr)
    said = subprocess.run(
        [sys.executable, "-m", "bench.fill", str(count)],
        cwd=servers.REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    filled = json.loads(said.splitlines()[-1])
    event = f"/v1/events/{filled['event_id']}"
    bearer = {"Authorization": f"Bearer {filled['access_token']}"}
    nearby = f"/v1/events?{_NEAR}"
    return [
        Case("anonymous GET of one event", event, event),
        Case(
            "signed-in GET of one event",
            event,
            f"/v1/signed-in/{filled['event_id']}",
            bearer,
        ),
        # Few clients: the database needs up to a second for each of bare's.
        Case("20 nearest of all events", nearby, nearby, connections=2),
    ]


def _check_same_answer(case: Case, pair: list[Server]) -> None:
    """Both must do the same work: the same events, with the same fields."""
    one, other = (_answer(case, server) for server in pair)
    if "items" in one:
        # The apps measure distances on globes of slightly different size.
        one, other = (
            [(item["id"], sorted(item)) for item in answer["items"]]
            for answer in (one, other)
        )
    if one != other:
        sys.exit(f"bench: {case.name}: the answers differ:\n{one}\n{other}")


def _answer(case: Case, server: Server) -> Any:
    asked = case.request_to(server)
    request = urllib.request.Request(
        server.url(asked.path), headers=dict(asked.headers)
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def _measure(
    case: Case, pair: list[Server], options: argparse.Namespace
) -> list[list[Sample]]:
    """Samples of both, taken in turn so that both meet the same noise."""
    samples: list[list[Sample]] = [[] for _ in pair]
    for round_number in range(options.rounds + 1):
        for server, taken in zip(pair, samples, strict=True):
            warms_up = round_number == 0
            sample = load.drive(
                server,
                case.request_to(server),
                seconds=1 if warms_up else options.seconds,
            )
            if not warms_up:
                taken.append(sample)
    return samples


def _print_heading(options: argparse.Namespace) -> None:
    print(
        f"{options.events} events, medians of {options.rounds} rounds of "
        f"{options.seconds} s, 1 worker each, access logs "
        f"{'on' if options.access_log else 'off'}\n"
    )
    print("| " + " | ".join(_HEADINGS) + " |")
    print("|" + "---|" * len(_HEADINGS), flush=True)


def _print_case(
    case: Case, pair: list[Server], samples: list[list[Sample]]
) -> None:
    for server, taken in zip(pair, samples, strict=True):
        print(
            f"| {case.name} | {server.name} "
            f"| {median_of(taken, 'requests_per_second'):.0f} "
            f"| {median_of(taken, 'cpu_microseconds'):.0f} "
            f"| {median_of(taken, 'p50_ms'):.1f} "
            f"| {median_of(taken, 'p99_ms'):.1f} |"
        )
    faster = ratios(samples, "requests_per_second")
    dearer = ratios(samples, "cpu_microseconds")
    print(f"| {case.name} | ratio | **{faster}** | {dearer} | | |", flush=True)


def _profile(case: Case, pair: list[Server], seconds: int) -> None:
    print(f"\n{case.name}: CPU µs of a request, by layer\n")
    columns = [
        layers.sample(server, case.request_to(server), seconds=seconds)
        for server in pair
    ]
    layers.print_table(pair[0].name, *columns)


if __name__ == "__main__":
    main()
