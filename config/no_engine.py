"""No engine: what stands in its place where sessions are switched off."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from config.engine import Container, ContainerSpec, EngineAwayError, Usage

_OFF: Final = (
    "Sessions are switched off here: SESSION_ENGINE=docker switches them on."
)


class NoEngine:
    """An engine that is never there."""

    async def check(self) -> None:
        """Says that sessions are off."""
        raise EngineAwayError(_OFF)

    async def ensure(self, spec: ContainerSpec) -> Container:
        """Says that sessions are off."""
        raise EngineAwayError(_OFF)

    async def find(self, session_id: str) -> Container | None:
        """Says that sessions are off."""
        raise EngineAwayError(_OFF)

    async def list_containers(self) -> Sequence[Container]:
        """Says that sessions are off."""
        raise EngineAwayError(_OFF)

    async def remove(self, session_id: str) -> None:
        """Says that sessions are off."""
        raise EngineAwayError(_OFF)

    def logs(
        self, session_id: str, *, follow: bool, tail: int
    ) -> AsyncIterator[bytes]:
        """Says that sessions are off."""
        raise EngineAwayError(_OFF)

    async def usage(self, session_id: str) -> Usage | None:
        """Says that sessions are off."""
        raise EngineAwayError(_OFF)

    async def pull(self, image: str) -> None:
        """Says that sessions are off."""
        raise EngineAwayError(_OFF)

    async def aclose(self) -> None:
        """Has nothing to give back."""
