"""Templates: which route's path a request asks for."""

import re
from collections.abc import Mapping
from typing import Final

# Route templates with what they match.
Templates = Mapping[str, re.Pattern[str]]

_PARAMETER: Final = re.compile(r"{[^}]*}")


def find_template(templates: Templates, path: str) -> str | None:
    """The path's own template: /v1/events/queue, not /v1/events/{event_id}."""
    fitting = [name for name in templates if templates[name].match(path)]
    return max(fitting, key=_literal_length, default=None)


def _literal_length(template: str) -> int:
    return len(_PARAMETER.sub("", template))
