"""Process docs: what a docstring and a schema tell about a process.

Owns no collection. May call: nobody.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_SECTION: Final = re.compile(r"^(Args|Returns|Raises|Yields):\s*$", re.M)
_ENTRY: Final = re.compile(r"^ {4}(\w+)(?: \([^)]*\))?:\s*", re.M)

# What an example of a type is, where nobody says a better one.
_PLAIN: Final[Mapping[str, object]] = {
    "string": "text",
    "integer": 1,
    "number": 1.5,
    "boolean": True,
    "null": None,
    "object": {},
}
# What a text is where its format is said.
_FORMATS: Final[Mapping[str, str]] = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "duration": "PT1H30M",
    "uuid": "7f9a3c52-6d0e-4b1f-9c58-2a4e6b8d0f13",
    "email": "ada@example.org",
    "uri": "https://example.org/",
    "base64url": "bXVzdGVy",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}
_ARRAY: Final = [0.5, 2.0, 4.25, 8.0, 4.25, 2.0, 0.5, 0.0]


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring in Google's style, taken apart.

    Attributes:
        summary: its first line, without the full stop.
        description: what follows, results and errors included, as Markdown.
        arguments: what it says of each argument.
    """

    summary: str
    description: str
    arguments: Mapping[str, str]


class _Endless(Exception):
    """A type holds itself: an example of it must leave it out."""


def read_docstring(text: str) -> Docstring:
    """Takes a docstring apart."""
    head, *sections = _SECTION.split(text)
    said = dict(zip(sections[::2], sections[1::2], strict=True))
    summary, _, more = head.strip().partition("\n")
    paragraphs = [more.strip()]
    if "Returns" in said:
        paragraphs.append(f"**Result.** {_joined(said['Returns'])}")
    if "Raises" in said:
        faults = _entries(said["Raises"])
        lines = [f"- {when}" for when in faults.values()]
        paragraphs.append("**The task fails when**\n\n" + "\n".join(lines))
    return Docstring(
        summary=summary.rstrip("."),
        description="\n\n".join(filter(None, paragraphs)),
        arguments=_entries(said.get("Args", "")),
    )


def example_of(schema: Mapping[str, Any]) -> Any:
    """A value that fits a JSON Schema of pydantic's; None where none does."""
    try:
        return _example(schema, schema.get("$defs", {}))
    except _Endless:
        return None


def _example(schema: Any, defs: Mapping[str, Any]) -> Any:
    for said in ("default", "const"):
        if said in schema:
            return schema[said]
    for options in ("examples", "enum"):
        if options in schema:
            return schema[options][0]
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in ("Array", "Numbers"):
            return list(_ARRAY)
        if name not in defs:
            raise _Endless
        # Within itself, it is not known.
        others = {other: defs[other] for other in defs if other != name}
        return _example(defs[name], others)
    for options in ("anyOf", "oneOf", "allOf"):
        if options in schema:
            return _of_options(schema[options], defs)
    return _of_type(schema, defs)


def _of_options(options: Sequence[Any], defs: Mapping[str, Any]) -> Any:
    for option in options:
        try:
            return _example(option, defs)
        except _Endless:
            continue
    raise _Endless


def _of_type(schema: Any, defs: Mapping[str, Any]) -> Any:
    kind = schema.get("type", "null")
    if kind == "array" and "prefixItems" in schema:
        return [_example(item, defs) for item in schema["prefixItems"]]
    if kind == "array":
        return _list(schema, defs)
    if kind == "object" and "properties" in schema:
        required = schema.get("required", [])
        return {
            name: _example(member, defs)
            for name, member in schema["properties"].items()
            if name in required or "default" in member
        }
    if kind == "string":
        text = _FORMATS.get(schema.get("format", ""), str(_PLAIN[kind]))
        return text.ljust(schema.get("minLength", 0), "x")[
            : schema.get("maxLength")
        ]
    if kind in ("integer", "number"):
        return _number(schema, kind)
    return _PLAIN.get(kind)


def _list(schema: Any, defs: Mapping[str, Any]) -> list[Any]:
    least = schema.get("minItems", 0)
    try:
        item = _example(schema.get("items", {}), defs)
    except _Endless:
        if least:
            raise
        return []
    return [item] * max(least, min(1, schema.get("maxItems", 1)))


def _number(schema: Any, kind: str) -> Any:
    """A number within its bounds, the lowest where there is one."""
    step = schema.get("multipleOf", 1)
    if "minimum" in schema:
        return schema["minimum"]
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"]
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        if kind == "number" and high is not None:
            return (low + high) / 2
        return low + step
    if "maximum" in schema:
        return schema["maximum"]
    if "exclusiveMaximum" in schema:
        return schema["exclusiveMaximum"] - step
    return schema.get("multipleOf", _PLAIN[kind])


def _entries(section: str) -> dict[str, str]:
    _, *parts = _ENTRY.split(section)
    return {
        name: _joined(text)
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def _joined(text: str) -> str:
    return " ".join(text.split())
