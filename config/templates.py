"""Templates: which route's path a request asks for."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

# Route templates with what they match.
Templates = Mapping[str, re.Pattern[str]]

_PARAMETER: Final = re.compile(r"{[^}]*}")


def find_template(templates: Templates, path: str) -> str | None:
    """The path's own template: /v1/events/queue, not /v1/events/{event_id}."""
    fitting = [name for name in templates if templates[name].match(path)]
    return max(fitting, key=_literal_length, default=None)


def patterns_of(
    templates: Templates, name: str
) -> tuple[re.Pattern[str], Sequence[re.Pattern[str]]]:
    """What matches a template's paths, and what those of closer ones.

    A path that matches the first and none of the others is the template's own:
    to see that takes a few matches, where `find_template` makes them all. Of a
    closer template, its own text is such a path: {event_id}.ics is one for
    {event_id}.
    """
    own = templates[name]
    return own, [
        templates[other]
        for other in templates
        if own.match(other) and _literal_length(other) > _literal_length(name)
    ]


def _literal_length(template: str) -> int:
    return len(_PARAMETER.sub("", template))
