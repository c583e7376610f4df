"""Plans of queries: how the database finds what Muster asks for.

It is asked to explain each first clause that any test sends, once. The embedded
database reads a whole collection for a clause with more fields than an index
has from its beginning; what else is wanted belongs into a clause of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from config import db
from tests.query_shapes import SMALL, is_ours

_SCAN: Final = "COLLSCAN"


@dataclass(frozen=True)
class Clause:
    """What decides how a command looks for documents.

    Attributes:
        collection: where it looks.
        form: its fields, each with the operators on it.
        sort: what it sorts by, where an index may do so.
        example: such a clause, with its values.
    """

    collection: str
    form: str
    sort: tuple[str, ...]
    example: Mapping[str, Any] = field(compare=False)
    order: Mapping[str, int] = field(compare=False)

    async def plan(self) -> str:
        """How the database would find it."""
        told = await db.database().command(
            {
                "explain": {
                    "find": self.collection,
                    "filter": self.example,
                    **({"sort": self.order} if self.order else {}),
                },
                "verbosity": "queryPlanner",
            }
        )
        return str(told["queryPlanner"]["winningPlan"])


def clauses_of(name: str, command: Mapping[str, Any]) -> list[Clause]:
    """The first clauses of a command: of a bulk, there are several."""
    collection = command.get(name)
    if not isinstance(collection, str):
        return []
    match name:
        case "find":
            sort = command.get("sort") if command.get("limit") else None
            asked = command["filter"]
            if command.get("limit") and not (asked or sort):
                # Any few will do: nothing is looked for.
                return []
            return [_clause(collection, asked, sort)]
        case "aggregate":
            return _first_of(collection, command["pipeline"])
        case "update" | "delete":
            return [
                _clause(collection, each["q"]) for each in command[f"{name}s"]
            ]
        case "count" if not command.get("query"):
            # The database knows how many there are.
            return []
        case "count" | "distinct" | "findAndModify":
            asked = command.get("query") or {}
            return [_clause(collection, asked, command.get("sort"))]
    return []


async def read_wholly(clauses: Mapping[Clause, str]) -> list[str]:
    """What Muster asks for, and the database reads a whole collection for.

    Args:
        clauses: what was asked for, and by whom.
    """
    return [
        f"{who}: all of {clause.collection} is read for {clause.example}"
        for clause, who in clauses.items()
        if is_ours(who)
        and clause.collection not in SMALL
        and _SCAN in await clause.plan()
    ]


def _first_of(
    collection: str, pipeline: Sequence[Mapping[str, Any]]
) -> list[Clause]:
    """What the first stages ask for, here and in what is added to them."""
    stages = [stage for stage in pipeline if stage != {"$match": {}}]
    added = [
        clause
        for stage in stages
        if "$unionWith" in stage
        for clause in _first_of(
            stage["$unionWith"]["coll"], stage["$unionWith"]["pipeline"]
        )
    ]
    first = stages[0] if stages else {}
    if "$geoNear" in first:
        # It fails without an index of its own.
        return added
    sort = first.get("$sort")
    return [_clause(collection, first.get("$match", {}), sort), *added]


def _clause(
    collection: str,
    example: Mapping[str, Any],
    sort: Mapping[str, int] | None = None,
) -> Clause:
    order = sort or {}
    return Clause(collection, _form(example), tuple(order), example, order)


def _form(clause: Mapping[str, Any]) -> str:
    """A clause without its values."""
    parts = []
    for name, value in sorted(clause.items()):
        if name in ("$and", "$or", "$nor"):
            parts.append(f"{name} {sorted({_form(each) for each in value})}")
        elif isinstance(value, Mapping):
            parts.append(f"{name} {sorted(value)}")
        else:
            parts.append(name)
    return ", ".join(parts)
