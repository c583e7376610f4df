"""The laws of the house, where a linter contract can't keep them."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pymongo.asynchronous.collection import AsyncCollection

import docs
import routes
import utils
from app import app
from config import files
from models.scopes import Scope, needed_admin_scope, needed_scope
from tests.contract import operations
from utils import audit, process_registry
from utils.collections import declared_indexes

ROOT = Path(__file__).parents[2]
_OPENERS = (
    "db.collection",
    "db.find_by_id",
    "db.insert_missing",
    "db.replace_all",
    "files.delete",
    "files.read",
    "files.write",
)
# The driver's, and those of `config/db.py`.
_WRITES = (
    "insert_",
    "update_",
    "replace_",
    "delete_",
    "bulk_write",
    "find_one_and_",
    "drop",
    "rename",
)
ROOMS = ("config", "routes", "utils", "models", "docs", "scripts")


def _modules(package: ModuleType) -> list[ModuleType]:
    return [
        importlib.import_module(f"{package.__name__}.{found.name}")
        for found in pkgutil.iter_modules(package.__path__)
    ]


def _sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in [ROOT / "app.py", *(p for r in ROOMS for p in _files(r))]:
        yield path.relative_to(ROOT), ast.parse(path.read_text("utf-8"))


def _files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def _owners() -> dict[str, Path]:
    """Each collection's name, with the module that owns it."""
    return {
        module.COLLECTION: Path(str(module.__file__)).relative_to(ROOT)
        for module in _modules(utils)
        if hasattr(module, "COLLECTION")
    }


def _handlers() -> list[APIRoute]:
    return [
        route
        for module in _modules(routes)
        if hasattr(module, "router")
        for route in module.router.routes
        if isinstance(route, APIRoute)
    ]


class TestOwners:
    """Each collection has one owner; its name stands in no other module."""

    def test_names_differ(self) -> None:
        named = [
            module.COLLECTION
            for module in _modules(utils)
            if hasattr(module, "COLLECTION")
        ]
        assert sorted(named) == sorted(set(named)) != []

    def test_names_stand_in_their_owners_only(self) -> None:
        owners = _owners()
        strangers = [
            f"{path}:{node.lineno} names {node.value!r}"
            for path, tree in _sources()
            for node in ast.walk(tree)
            # `config` is below all owners: it speaks of the server's users.
            if path.parts[0] != "config"
            and isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and owners.get(node.value, path) != path
        ]
        assert not strangers

    def test_owners_open_only_their_own(self) -> None:
        """What names a collection is called with the module's COLLECTION."""
        calls = [
            (path, ast.unparse(node.args[0]))
            for path, tree in _sources()
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and ast.unparse(node.func) in _OPENERS
            # The files' own two collections are named after their owner's.
            and path.parts[0] != "config"
        ]
        assert {path for path, _ in calls} == set(_owners().values())
        assert {argument for _, argument in calls} == {"COLLECTION"}

    def test_nobody_takes_the_name_from_its_owner(self) -> None:
        takers = {
            str(path)
            for path, tree in _sources()
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr == "COLLECTION"
        }
        assert takers == {"utils/collections.py"}

    def test_all_indexes_are_declared(self) -> None:
        named = set(_owners())
        for module in _modules(utils):
            if hasattr(module, "COLLECTION") and hasattr(module, "files"):
                named |= set(files.indexes(module.COLLECTION))
        assert set(declared_indexes()) == named > set(_owners())


class TestAudit:
    """What is written down stays: nothing changes or removes it."""

    def test_its_owner_offers_no_change(self) -> None:
        offered = {
            name
            for name, value in vars(audit).items()
            if inspect.isfunction(value)
            and value.__module__ == audit.__name__
            and not name.startswith("_")
        }
        assert offered == {"record", "list_entries", "list_about"}

    def test_whoever_holds_the_collection_adds_or_reads(self) -> None:
        """Its owner alone opens it, and passes it to `paging` at most."""
        asked_for = {
            node.attr
            for path, tree in _sources()
            if str(path) in ("utils/audit.py", "utils/paging.py")
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
        }
        assert asked_for & set(dir(AsyncCollection)) == {
            "insert_one",
            "aggregate",
            "find",
        }

    def test_nothing_expires(self) -> None:
        for index in audit.INDEXES:
            assert "expireAfterSeconds" not in index.document


class TestCache:
    """No change of what is cached is forgotten: see `config/cache.py`."""

    def test_every_write_of_events_says_what_it_ends(self) -> None:
        tree = ast.parse((ROOT / "utils/events.py").read_text("utf-8"))
        silent = [
            f"{function.name}:{call.lineno} {call.func.attr}"
            for function in tree.body
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            and "invalidat" not in _said_around(function)
            for call in ast.walk(function)
            if isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr.startswith(_WRITES)
        ]
        assert not silent

    def test_nobody_else_gets_hold_of_events_to_write_them(self) -> None:
        """Whom their owner passes the collection to only reads it."""
        writes = [
            f"{path}:{call.lineno}"
            for path, tree in _sources()
            if path.stem in ("event_pages", "event_walks", "paging")
            for call in ast.walk(tree)
            if isinstance(call, ast.Attribute) and call.attr.startswith(_WRITES)
        ]
        assert not writes


def _said_around(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The decorators of a function, and what its blocks stand in."""
    said = [*function.decorator_list]
    for node in ast.walk(function):
        if isinstance(node, ast.With):
            said += [item.context_expr for item in node.items]
    return " ".join(map(ast.unparse, said))


class TestUtils:
    def test_docstrings_say_what_a_module_owns(self) -> None:
        for module in _modules(utils):
            text = str(module.__doc__)
            owned = getattr(module, "COLLECTION", None)
            if owned is None:
                assert "Owns no collection" in text, module.__name__
            else:
                assert f"Owns: `{owned}`." in text, module.__name__

    def test_may_call_is_true(self) -> None:
        """Each module says in its docstring which others it calls."""
        names = {
            module.__name__.partition(".")[2] for module in _modules(utils)
        }
        for path, tree in _sources():
            if path.parts[0] != "utils" or path.stem in (
                "__init__", "collections"
            ):  # fmt: skip
                continue
            called = {
                alias.name
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom) and node.module == "utils"
                for alias in node.names
            }
            words = str(ast.get_docstring(tree)).partition("May call:")[2]
            said = words.partition(".")[0].replace(",", " ").split()
            assert set(said) - {"nobody"} == called & names, path

    def test_arguments_after_the_first_are_keyword_only(self) -> None:
        for path, tree in _sources():
            if path.parts[0] != "utils":
                continue
            for node in tree.body:
                if not isinstance(node, ast.AsyncFunctionDef):
                    continue
                if node.name.startswith("_"):
                    continue
                assert len(node.args.args) <= 2, f"{path}: {node.name}"


def _written() -> list[APIRoute]:
    """The handlers that are written; those of processes are made."""
    paths = {
        f"/v1/processes/{process.path}"
        for process in process_registry.list_processes()
    }
    return [
        route
        for route in _handlers()
        if route.path not in paths or route.methods != {"POST"}
    ]


class TestDocs:
    """Every route has its entry in `docs/`, every entry its route."""

    @pytest.mark.parametrize(
        "route", _written(), ids=lambda route: route.endpoint.__name__
    )
    def test_every_route_has_its_entry(self, route: APIRoute) -> None:
        name = route.endpoint.__name__.upper()
        module = route.endpoint.__module__.replace("routes.", "docs.")
        entry = getattr(importlib.import_module(module), name)
        assert route.summary == entry["summary"]
        assert route.description == entry["description"]

    def test_every_entry_has_its_route(self) -> None:
        entries = {
            f"{module.__name__.partition('.')[2]}.{name}"
            for module in _modules(docs)
            for name, value in vars(module).items()
            if name.isupper() and isinstance(value, dict)
        }
        handlers = {
            f"{route.endpoint.__module__.partition('.')[2]}"
            f".{route.endpoint.__name__.upper()}"
            for route in _written()
        }
        assert entries == handlers

    def test_summaries_are_one_line(self) -> None:
        for route in _handlers():
            assert route.summary and "\n" not in route.summary
            assert not route.summary.endswith(".")

    def test_openapi_is_whole(self) -> None:
        documented = set(operations())
        served = {
            (method, route.path_format)
            for route in _handlers()
            for method in route.methods or ()
        }
        assert documented == served

    @pytest.mark.parametrize("method, path", sorted(operations()))
    def test_bodies_have_examples_and_parameters_a_sentence(
        self, method: str, path: str
    ) -> None:
        operation = operations()[method, path]
        content = operation.get("requestBody", {}).get("content", {})
        for media in content.values():
            assert _has_examples(media["schema"])
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), parameter["name"]


def _has_examples(schema: dict[str, Any]) -> bool:
    for option in schema.get("anyOf", [schema]):
        if "examples" in option:
            return True
        if "$ref" in option:
            name = option["$ref"].rpartition("/")[2]
            model = app.openapi()["components"]["schemas"][name]
            return any(
                "examples" in field or "$ref" in str(field)
                for field in model["properties"].values()
            )
    return False


class TestScopes:
    """Each route that asks who calls says which API keys may call it."""

    def test_no_area_is_forgotten(self) -> None:
        closed = {
            path
            for (method, path), operation in operations().items()
            if "security" in operation and needed_scope(method, path) is None
        }
        areas = {path.split("/")[2] for path in closed}
        # No key makes keys, or touches logins.
        assert areas == {"api-keys", "auth"}

    def test_those_two_are_closed(self) -> None:
        for method, path in operations():
            if path.startswith(("/v1/api-keys", "/v1/auth/")):
                assert needed_scope(method, path) is None

    def test_every_route_says_that_a_key_may_lack_it(self) -> None:
        for asked, operation in operations().items():
            if "security" in operation:
                problem = operation["responses"]["403"]["content"]
                slugs = problem["application/problem+json"]["examples"]
                assert "insufficient-scope" in slugs, asked

    def test_every_scope_opens_something(self) -> None:
        needed = {needed_scope(*asked) for asked in operations()}
        needed |= {needed_admin_scope(method) for method, _ in operations()}
        assert needed - {None} == set(Scope)


class TestDecisions:
    def test_each_has_a_number_of_its_own(self) -> None:
        pages = [*(ROOT / "docs/decisions").glob("*.md")]
        assert len({page.name[:4] for page in pages}) == len(pages) > 0


class TestScreens:
    def test_a_function_fits_one_screen(self) -> None:
        long = [
            f"{path}:{node.lineno} {node.name}"
            for path, tree in _sources()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (node.end_lineno or 0) - node.lineno > 60
        ]
        assert not long
