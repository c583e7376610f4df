"""Metrics: what Prometheus asks for."""

import asyncio
import hmac

from fastapi import APIRouter, Depends, Request, Response

from config.metrics import CONTENT_TYPE, Metrics
from config.settings import Settings
from docs import metrics as docs
from models.exceptions import NotAuthenticatedError, NotFoundError
from routes.problems import problems

router = APIRouter(tags=["Service"])


async def _require_token(request: Request) -> None:
    settings: Settings = request.app.state.settings
    if settings.metrics_token is None:
        if not settings.in_development:
            # Nobody was given a token: there is nothing here.
            raise NotFoundError()
        return
    token = f"Bearer {settings.metrics_token.get_secret_value()}"
    shown = request.headers.get("authorization", "")
    # Texts with other letters than ASCII's can't be compared so.
    if not hmac.compare_digest(shown.encode(), token.encode()):
        raise NotAuthenticatedError("Send METRICS_TOKEN as 'Bearer …'.")


@router.get(
    "/metrics",
    **docs.GET_METRICS,
    dependencies=[Depends(_require_token)],
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems(NotAuthenticatedError, NotFoundError),
    },
)
async def get_metrics(request: Request) -> Response:
    metrics: Metrics = request.app.state.metrics
    text = await asyncio.to_thread(metrics.show)
    return Response(text, media_type=CONTENT_TYPE)
