"""The queue: tasks per second, on MongoDB and on Redis, beside arq.

`python -m bench.queue` starts a Redis, and for each queue one who submits and
one worker; it has them do the same jobs in turn and prints a table, then what
memory a web worker needs for a long upload. See README.md.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from bench import contestants, jobs, servers, upload
from bench.contestants import Contestant, Sample
from bench.ratios import range_of, ratios
from config import db
from tests.redis_server import RedisServer, running_redis

_TITLES: Final = {"nothing": "no-op", "mean": "mean of a 1 MB array"}
_HEADINGS: Final = (
    "task", "queue", "tasks/s", "÷ arq", "submitting: p50 ms", "p99 ms"
)  # fmt: skip
_MEGABYTE: Final = 1024 * 1024


def main() -> None:
    """Measures, and prints."""
    options = _options()
    contestants.require_programs()
    servers.RESULTS.mkdir(exist_ok=True)
    with _environment() as environment:
        with _contestants(environment, options.slots) as all_of_them:
            _print_heading(options)
            for job in jobs.ARRAY_BYTES:
                samples = _measure(job, all_of_them, options)
                _print_rows(job, all_of_them, samples)
        _print_upload(
            upload.measure(
                environment,
                size=options.upload_mb * _MEGABYTE,
                rounds=options.rounds,
            ),
            options.upload_mb,
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=200, help="of a round")
    parser.add_argument("--slots", type=int, default=2, help="of a worker")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--upload-mb", type=int, default=200)
    return parser.parse_args()


@contextmanager
def _environment() -> Iterator[dict[str, str]]:
    """The settings of all processes of Muster's, with a new database."""
    # Not in /tmp, which may be in memory: there, keeping costs nothing.
    with (
        tempfile.TemporaryDirectory(dir=servers.RESULTS) as folder,
        servers.database(Path(folder)) as uri,
    ):
        yield {
            "ENVIRONMENT": "development",
            "DATA_DIR": folder,
            "JWT_SECRET_KEY": "the benchmark's own key, known to everybody",
            "MONGO_DB_URI": uri,
            "MONGO_DB_NAME": f"{db.TEST_PREFIX}bench_queue_{os.getpid()}",
            # No quota ends the measurement.
            "TASK_QUEUED_MAX": "1000000",
            "TASK_RUNNING_MAX": "1000000",
            "TASK_STORED_MAX": "1000000",
            "TASK_STORED_MB_MAX": "1000000",
        }


@contextmanager
def _contestants(
    environment: dict[str, str], slots: int
) -> Iterator[list[Contestant]]:
    """All queues; arq's second Redis keeps what it has, as a database does."""
    name = environment["MONGO_DB_NAME"]
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis())
        durable = stack.enter_context(
            running_redis(
                "--appendonly", "yes", "--appendfsync", "always",
                "--dir", environment["DATA_DIR"],
            )
        )  # fmt: skip
        yield [
            stack.enter_context(
                contestants.muster("muster, MongoDB", environment, slots=slots)
            ),
            stack.enter_context(
                contestants.muster(
                    "muster, Redis",
                    {
                        **environment,
                        "MONGO_DB_NAME": f"{name}_redis",
                        "TASK_BROKER_URL": redis.url,
                    },
                    slots=slots,
                )
            ),
            _arq(stack, "arq, Redis that syncs", durable, slots),
            # The last: what the others are compared with.
            _arq(stack, "arq, Redis", redis, slots),
        ]


def _arq(
    stack: ExitStack, name: str, redis: RedisServer, slots: int
) -> Contestant:
    return stack.enter_context(
        contestants.arq(name, port=redis.port, slots=slots)
    )


def _measure(
    job: str, all_of_them: Sequence[Contestant], options: argparse.Namespace
) -> list[list[Sample]]:
    """Samples of all, taken in turn so that all meet the same noise."""
    samples: list[list[Sample]] = [[] for _ in all_of_them]
    for round_number in range(options.rounds + 1):
        for contestant, taken in zip(all_of_them, samples, strict=True):
            if round_number == 0:
                # Its worker starts the processes that compute.
                contestant.run(job, 10 * options.slots)
            else:
                taken.append(contestant.run(job, options.tasks))
    return samples


def _print_heading(options: argparse.Namespace) -> None:
    print(
        f"medians of {options.rounds} rounds of {options.tasks} tasks, "
        f"1 worker with {options.slots} processes each\n"
    )
    print("| " + " | ".join(_HEADINGS) + " |")
    print("|" + "---|" * len(_HEADINGS), flush=True)


def _print_rows(
    job: str,
    all_of_them: Sequence[Contestant],
    samples: Sequence[Sequence[Sample]],
) -> None:
    for contestant, taken in zip(all_of_them, samples, strict=True):
        rates = [sample.tasks_per_second for sample in taken]
        compared = ratios([taken, samples[-1]], "tasks_per_second")
        submitting = [quantiles(one.submit_seconds, n=100) for one in taken]
        print(
            f"| {_TITLES[job]} | {contestant.name} | {range_of(rates, 0)} "
            f"| **{compared}** "
            f"| {1000 * median(each[49] for each in submitting):.1f} "
            f"| {1000 * median(each[98] for each in submitting):.1f} |",
            flush=True,
        )


def _print_upload(taken: list[upload.Sample], megabytes: int) -> None:
    grown = [sample.grown / _MEGABYTE for sample in taken]
    print(
        f"\nA .npy of {megabytes} MB: stored after "
        f"{range_of([sample.seconds for sample in taken], 1)} s; the web "
        f"worker's peak grew by {range_of(grown, 1)} MB"
    )


if __name__ == "__main__":
    main()
