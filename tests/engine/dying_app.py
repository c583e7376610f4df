"""Muster, whose workers kill themselves at a step of a session's life.

Each file in the folder DYING_FOLDER names a step: whoever comes to it first
removes the file and dies, as by kill -9. Claims run out sooner than usual, so
that a test need not wait for half a minute.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from app import app
from config import ports
from config.engine import Container, ContainerSpec, Engine
from config.gpus import GpuSource
from utils import prewarming, seat_grants, session_service, sessions

_FOLDER = Path(os.environ["DYING_FOLDER"])
Given = ParamSpec("Given")
Result = TypeVar("Result")


def _die_at(step: str) -> None:
    try:
        (_FOLDER / step).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _mortal(
    name: str, work: Callable[Given, Awaitable[Result]]
) -> Callable[Given, Awaitable[Result]]:
    """Work before, during or after which this process may die."""

    @wraps(work)
    async def do(*given: Given.args, **named: Given.kwargs) -> Result:
        _die_at(f"before-{name}")
        doing = asyncio.ensure_future(work(*given, **named))
        for tenth in range(1, 5):
            if any(_FOLDER.glob(f"during-{name}-*")) and not doing.done():
                await asyncio.wait([doing], timeout=0.1)
                if not doing.done():
                    _die_at(f"during-{name}-{tenth}")
        result = await doing
        for step in _FOLDER.glob(f"during-{name}-*"):
            # It took less time than that.
            _die_at(step.name)
        _die_at(f"after-{name}")
        return result

    return do


class _MortalEngine:
    """An engine in the middle of whose work a worker dies."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ensure = _mortal("ensure", engine.ensure)
        self._remove = _mortal("remove", engine.remove)

    async def ensure(self, spec: ContainerSpec) -> Container:
        """As the engine does."""
        return await self._ensure(spec)

    async def remove(self, session_id: str) -> None:
        """As the engine does."""
        await self._remove(session_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def _serve(
    engine: Engine, inventory: GpuSource
) -> session_service.SessionService:
    mortal: Any = _MortalEngine(engine)
    return session_service.SessionService(mortal, inventory)


def _patch() -> None:
    """Has a worker die at steps between those of the engine, too."""
    patched: Any = sessions
    patched.CLAIM = timedelta(seconds=3)
    for name in ("create", "end", "change", "finish"):
        setattr(patched, name, _mortal(name, getattr(sessions, name)))
    setattr(seat_grants, "change", _mortal("note", seat_grants.change))
    setattr(prewarming, "CLAIM", timedelta(seconds=3))
    setattr(ports, "answers", _mortal("probe", ports.answers))
    setattr(session_service, "_RENEWAL_SECONDS", 1.0)


_patch()
app.state.serve_sessions = _serve

__all__ = ["app"]
