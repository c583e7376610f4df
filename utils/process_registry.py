"""Process registry: what tasks can run, found in `utils/processes/`.

Owns no collection. May call: process_functions, processes.

A process's path, schema, validation and endpoint follow from its signature:
nothing else is said of it anywhere.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import Any

from models.processes import ProcessRead
from utils import process_functions, processes

Process = process_functions.Process


def list_processes() -> list[Process]:
    """All processes, by their paths."""
    return [*_all().values()]


def get_process(name: str) -> Process | None:
    """The process of this name, which tasks keep; None where it is gone."""
    return _by_name().get(name)


def find_process(path: str) -> tuple[Process, dict[str, str]] | None:
    """The process at `path`, and the arguments that stand in there.

    A path without arguments goes before one with some that fits, too.
    """
    if path in _all():
        return _all()[path], {}
    parts = path.split("/")
    for found in _all().values():
        arguments = _match(found.path.split("/"), parts)
        if arguments is not None:
            return found, arguments
    return None


def read_process(found: Process) -> ProcessRead:
    """What clients see of a process."""
    return ProcessRead(
        name=found.name,
        path=found.path,
        summary=found.summary,
        description=found.description,
        parameters=found.body.model_json_schema(),
        result=found.result.json_schema(mode="serialization"),
        example=found.example(),
        time_limit_seconds=found.options.time_limit_seconds,
        memory_mb=found.options.memory_mb,
        retries=found.options.retries,
        schedule=found.options.schedule,
    )


def find_in(package: ModuleType) -> dict[str, Process]:
    """The processes of a package's modules, by their paths.

    Raises:
        ProcessDefinitionError: a function there can't be one, or two have the
            same name or path.
    """
    found: dict[str, Process] = {}
    names: dict[str, Callable[..., Any]] = {}
    for function in _functions(package):
        made = process_functions.process_of(function)
        if made.name in names or made.path in found:
            raise process_functions.ProcessDefinitionError(
                function, f"another process is called {made.name}, or at "
                f"{made.path}, too",
            )  # fmt: skip
        names[made.name] = function
        found[made.path] = made
    return dict(sorted(found.items()))


@cache
def _all() -> Mapping[str, Process]:
    return find_in(processes)


@cache
def _by_name() -> Mapping[str, Process]:
    return {found.name: found for found in _all().values()}


def _functions(package: ModuleType) -> Iterator[Callable[..., Any]]:
    """The public functions that the package's own modules define."""
    for module_info in pkgutil.walk_packages(
        package.__path__, f"{package.__name__}."
    ):
        module = importlib.import_module(module_info.name)
        for name, value in vars(module).items():
            if (
                inspect.isfunction(value)
                and value.__module__ == module.__name__
                and not name.startswith("_")
            ):
                yield value


def _match(template: list[str], parts: list[str]) -> dict[str, str] | None:
    if len(template) != len(parts):
        return None
    arguments = {}
    for wanted, part in zip(template, parts, strict=True):
        if wanted.startswith("{") and part:
            arguments[wanted[1:-1]] = part
        elif wanted != part:
            return None
    return arguments
