"""AWS Lambda: answers the events of API Gateway, function URLs and balancers.

The function's handler is `deploy.aws_lambda.handler`. What a process opens at
its start, it opens while this module is imported, once; then Lambda freezes it
between requests. Nothing that Muster does beside requests is done here, so that
a process that lasts must run elsewhere: see `deploy/README.md`.
"""

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Final
from urllib.parse import quote

from mangum import Mangum
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import app
from config.lifespan import lifespan
from config.main import settings
from utils.chores import frozen_chores

# What stands in a path as it is (RFC 3986, section 3.3).
_SAFE: Final = "/:@!$&'()*+,;=~"
# Sent as they are. Of others, an event holds the base64.
_TEXTS: Final = [
    "text/",
    "application/json",
    "application/problem+json",
    "application/openmetrics-text",
    "application/javascript",
    "image/svg+xml",
]


class FromEvents:
    """Says what the library leaves out of a request, or gets wrong.

    Args:
        serve: what answers it.
    """

    def __init__(self, serve: ASGIApp) -> None:
        self._serve = serve

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        scope["raw_path"] = quote(scope["path"], safe=_SAFE).encode()
        if "elb" in scope["aws.event"]["requestContext"]:
            # All that it was told, of which the balancer wrote the last.
            last = scope["client"][0].rpartition(",")[2]
            scope["client"] = (last.strip(), 0)
        await self._serve(scope, receive, send)


def _opened() -> FromEvents:
    """The app, once all that it needs is there."""
    app.state.chores = frozen_chores(app.state.limiter)
    app.state.chores_of = lambda *_: ()
    _LOOP.run_until_complete(_SERVICES.enter_async_context(lifespan(app)))
    if not settings.trusted_proxies:
        return FromEvents(app)
    # What stands before the gateway, such as CloudFront, tells whom it serves.
    trusting: Any = ProxyHeadersMiddleware
    return FromEvents(trusting(app, settings.trusted_proxies))


_LOOP: Final = asyncio.new_event_loop()
# Held here, and never left: Lambda ends a process without a word.
_SERVICES: Final = AsyncExitStack()
# The library runs each request on the thread's own loop.
asyncio.set_event_loop(_LOOP)
handler: Final = Mangum(_opened(), lifespan="off", text_mime_types=_TEXTS)
