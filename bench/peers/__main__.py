"""Peers: Muster beside what people would use instead, in one run.

`python -m bench.peers` starts all contestants, has wrk ask one after the other,
round by round, prints tables and draws a picture. See ../README.md.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import load, servers
from bench.peers import contestants, payloads, picture
from bench.peers.contestants import Contestant
from bench.peers.payloads import Operation
from bench.peers.stores import opened
from bench.ratios import median_of, ratios

_HEADINGS: Final = (
    "operation", "app", "requests/s", "p50 ms", "p99 ms",
    "CPU ms, worker", "CPU ms, databases", "worker's PSS, MB",
)  # fmt: skip
_RATIOS: Final = (
    "operation", "Muster to", "requests/s", "CPU, worker", "CPU in all",
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """What one contestant did in one round, its databases included."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    worker_ms: float
    stores_ms: float
    memory_mb: float

    @property
    def cpu_ms(self) -> float:
        """CPU of a request, wherever it was used."""
        return self.worker_ms + self.stores_ms


Samples = Mapping[str, Sequence[Sample]]


def main() -> None:
    """Measures, prints and draws."""
    options = _options()
    servers.RESULTS.mkdir(exist_ok=True)
    contestants.require_programs()
    measured: dict[str, Samples] = {}
    # Not in /tmp, which may be in memory: there, keeping costs nothing.
    with tempfile.TemporaryDirectory(dir=servers.RESULTS) as folder:
        with contestants.started(opened(folder), events=options.events) as all_:
            for operation in payloads.operations():
                _check_same_answers(operation, all_)
                print(f"bench: {operation.name} …", file=sys.stderr)
                measured[operation.name] = _measure(operation, all_, options)
    _print(measured, options)
    picture.draw(
        {
            name: {
                app: (
                    median_of(taken, "worker_ms"),
                    median_of(taken, "stores_ms"),
                )
                for app, taken in samples.items()
            }
            for name, samples in measured.items()
        },
        options.picture,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description=__doc__
    )
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=5, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="one round of a second"
    )
    parser.add_argument(
        "--picture",
        type=Path,
        default=servers.RESULTS / "peers.png",
        help="where to draw",
    )
    options = parser.parse_args()
    if options.quick:
        options.seconds = options.rounds = 1
    return options


def _check_same_answers(
    operation: Operation, all_: Sequence[Contestant]
) -> None:
    """All must do the same work, and show the same fields."""
    answers = [
        payloads.alike(one.answer(one.request(operation))) for one in all_
    ]
    for contestant, answer in zip(all_, answers, strict=True):
        if answer != answers[0]:
            sys.exit(
                f"bench: {operation.name}: {contestant.name} answers\n"
                f"{answer}\ninstead of\n{answers[0]}"
            )


def _measure(
    operation: Operation,
    all_: Sequence[Contestant],
    options: argparse.Namespace,
) -> Samples:
    """Samples of all, taken in turn so that all meet the same noise."""
    samples: dict[str, list[Sample]] = {one.name: [] for one in all_}
    for round_number in range(options.rounds + 1):
        for one in all_:
            warms_up = round_number == 0
            sample = _sample(operation, one, 1 if warms_up else options.seconds)
            if not warms_up:
                samples[one.name].append(sample)
    return samples


def _sample(operation: Operation, one: Contestant, seconds: int) -> Sample:
    before = one.store_seconds()
    taken = load.drive(one.server, one.request(operation), seconds=seconds)
    # wrk goes on for as many requests as it says, and a little at its end.
    answered = taken.requests_per_second * seconds
    return Sample(
        requests_per_second=taken.requests_per_second,
        p50_ms=taken.p50_ms,
        p99_ms=taken.p99_ms,
        worker_ms=taken.cpu_microseconds / 1000,
        stores_ms=(one.store_seconds() - before) / answered * 1000,
        memory_mb=one.memory_mb(),
    )


def _print(
    measured: Mapping[str, Samples], options: argparse.Namespace
) -> None:
    print(
        f"{options.events} events, medians of {options.rounds} rounds of "
        f"{options.seconds} s, 1 worker each; load of the machine at the end "
        f"{os.getloadavg()[1]:.1f} on {os.cpu_count()} cores\n"
    )
    _print_heading(_HEADINGS)
    for operation, samples in measured.items():
        for app, taken in samples.items():
            print(
                f"| {operation} | {app} "
                f"| {median_of(taken, 'requests_per_second'):.0f} "
                f"| {median_of(taken, 'p50_ms'):.1f} "
                f"| {median_of(taken, 'p99_ms'):.1f} "
                f"| {median_of(taken, 'worker_ms'):.2f} "
                f"| {median_of(taken, 'stores_ms'):.2f} "
                f"| {median_of(taken, 'memory_mb'):.0f} |"
            )
    print()
    _print_heading(_RATIOS)
    for operation, samples in measured.items():
        muster, *peers = samples.items()
        for app, taken in peers:
            pair = [muster[1], taken]
            print(
                f"| {operation} | {app} "
                f"| **{ratios(pair, 'requests_per_second')}** "
                f"| {ratios(pair, 'worker_ms')} | {ratios(pair, 'cpu_ms')} |"
            )


def _print_heading(headings: Sequence[str]) -> None:
    print("| " + " | ".join(headings) + " |")
    print("|" + "---|" * len(headings))


if __name__ == "__main__":
    main()
