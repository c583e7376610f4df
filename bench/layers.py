"""Layers: in which part of a worker the time of a request goes.

A sampling profiler looks at the worker from outside, under the same load as
the benchmark, so that cheap calls are not made dear by counting them. Each
sample belongs to the innermost frame that a rule knows: what the standard
library does counts for its caller.
"""

import re
import shutil
import subprocess
import sys
from collections import Counter
from typing import Final

from bench import load
from bench.load import Request
from bench.servers import RESULTS, Server

_SAMPLER: Final = "py-spy"
_SAMPLES_A_SECOND: Final = 500
_LEAD_SECONDS: Final = 2

# A frame is `function (file:line)`. The first rule that fits decides.
_RULES: Final = [
    (re.compile(pattern), layer)
    for pattern, layer in (
        (r"\((pymongo|bson)/", "driver"),
        (r"\bserialize\w* \(fastapi/_compat", "answer to JSON"),
        (r"\bserialize_response \(", "answer checked by FastAPI"),
        (r"\b(__init__|model_\w+) \(pydantic/main", "models"),
        (r"\(models/", "models"),
        (r"\((fastapi|routes)/dependencies", "dependencies and parameters"),
        (r"\(fastapi/security", "dependencies and parameters"),
        (r"\(config/middleware", "Muster's middleware"),
        (r"\((starlette|fastapi)/middleware", "framework's middleware"),
        (r"\(starlette/_exception_handler", "framework's middleware"),
        (r"\(starlette/responses", "response object"),
        (r"\((starlette|fastapi)/", "routing and request"),
        (r"\((utils|routes|config|bench)/", "handler and its helpers"),
        (r"\((uvicorn|uvicorn_worker|gunicorn|asyncio)\b", "server and loop"),
    )
]
_OTHER: Final = "other"

Costs = dict[str, float]


def require_sampler() -> None:
    """Ends the process with one line where there is no profiler."""
    if shutil.which(_SAMPLER) is None:
        sys.exit("bench: py-spy is missing: `pip install py-spy`")


def sample(server: Server, request: Request, *, seconds: int) -> Costs:
    """CPU µs that a request spends in each layer."""
    cost = load.drive(server, request, seconds=seconds).cpu_microseconds
    stacks = RESULTS / f"{server.name}.stacks"
    command = [_SAMPLER, "record", "--pid", str(server.worker_pid)]
    command += ["--format", "raw", "--output", str(stacks)]
    command += ["--rate", str(_SAMPLES_A_SECOND)]
    command += ["--duration", str(seconds)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as sampler:
        load.drive(server, request, seconds=seconds + _LEAD_SECONDS)
        _, said = sampler.communicate()
    if sampler.returncode != 0:
        sys.exit(f"bench: py-spy failed: {said.strip().splitlines()[-1]}")
    seen: Counter[str] = Counter()
    for line in stacks.read_text(encoding="utf-8").splitlines():
        frames, _, count = line.rpartition(" ")
        seen[_layer_of(frames.split(";"))] += int(count)
    return {layer: count / seen.total() * cost for layer, count in seen.items()}


def print_table(name: str, ours: Costs, theirs: Costs) -> None:
    """Prints the layers of an app and of the bare one, the dearest first."""
    print(f"| layer | {name} | bare | difference |\n|---|---|---|---|")
    for layer in sorted({*ours, *theirs}, key=lambda name: -ours.get(name, 0)):
        _print_row(layer, ours.get(layer, 0), theirs.get(layer, 0))
    _print_row("all", sum(ours.values()), sum(theirs.values()))


def _print_row(layer: str, ours: float, theirs: float) -> None:
    print(f"| {layer} | {ours:.0f} | {theirs:.0f} | {ours - theirs:+.0f} |")


def _layer_of(frames: list[str]) -> str:
    for frame in reversed(frames):
        for pattern, layer in _RULES:
            if pattern.search(frame):
                return layer
    return _OTHER
