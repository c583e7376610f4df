"""Templates: whose a path is that fits several."""

import pytest

from app import app
from config.templates import find_template, patterns_of
from models.base import new_id

TEMPLATES = app.state.templates


class TestTemplates:
    @pytest.mark.parametrize("template", sorted(TEMPLATES))
    def test_of_a_path(self, template: str) -> None:
        """Whichever way it is found out, each path has its own template."""
        path = "/".join(
            f"{new_id()}{part.partition('}')[2]}" if "{" in part else part
            for part in template.split("/")
        )
        assert find_template(TEMPLATES, path) == template
        for name in TEMPLATES:
            own, closer = patterns_of(TEMPLATES, name)
            is_own = own.match(path) and not any(
                other.match(path) for other in closer
            )
            assert bool(is_own) == (name == template)

    def test_of_no_path(self) -> None:
        assert find_template(TEMPLATES, "/v2/events") is None
