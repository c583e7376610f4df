"""The yardstick inside Muster's pipeline: what the pipeline alone costs.

The bare app keeps its one read and its own answer; around it stands all that
surrounds a request to Muster, in the same order and with the same settings.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app import app as muster
from bench.bare_app import app as bare

_alone = bare.router.lifespan_context


@asynccontextmanager
async def _lifespan(served: FastAPI) -> AsyncIterator[None]:
    """Muster's services, which its pipeline stands on, and the bare app's."""
    async with muster.router.lifespan_context(muster), _alone(served):
        yield


bare.router.lifespan_context = _lifespan
bare.user_middleware.extend(muster.user_middleware)
app = bare
