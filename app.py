"""The front door: builds the app from its parts, nothing else."""

from typing import Any

from fastapi.openapi.utils import get_openapi
from starlette.middleware import Middleware

from config.broker import broker_of
from config.logs import configure_logging
from config.mail import transport_of
from config.main import (
    MAX_BODY_BYTES,
    MAX_IMAGE_BODY_BYTES,
    NAME,
    VERSION,
    app,
    settings,
)
from config.middleware.bodies import BodyLimit
from config.middleware.context import RequestContext
from config.middleware.entity_tags import EntityTags
from config.middleware.heads import HeadRequests
from config.settings import TaskWorker
from docs import service as docs
from routes import (
    accounts,
    audit,
    auth,
    calendars,
    check_ins,
    events,
    feedback,
    images,
    problems,
    processes,
    rsvps,
    service,
    short_form,
    users,
)
from routes import tasks as task_routes
from utils import tasks
from utils.chores import declared_chores
from utils.collections import declared_indexes

__all__ = ["app"]

configure_logging()

# What the lifespan builds the services from.
app.state.settings = settings
app.state.indexes = declared_indexes()
app.state.mail = transport_of(settings)
app.state.broker = broker_of(
    settings,
    find_due=tasks.list_due,
    wake=tasks.queued,
    takes=settings.task_worker is TaskWorker.INLINE,
)
app.state.chores = declared_chores(app.state.mail, app.state.broker)

# What a request passes on its way in, outermost first; its answer comes back
# the other way. A middleware of yours, pure ASGI, is one more line.
pipeline = (
    Middleware(RequestContext, on_fault=problems.on_fault),
    Middleware(HeadRequests),
    Middleware(
        BodyLimit,
        limit_bytes=MAX_BODY_BYTES,
        on_fault=problems.on_fault,
        exceptions={
            ("POST", "/v1/images"): MAX_IMAGE_BODY_BYTES,
            # Arrays, and a body of the usual length beside them.
            ("POST", "/v1/processes/"): settings.max_array_bytes
            + MAX_BODY_BYTES,
            ("POST", "/process_np_array"): settings.max_array_bytes
            + MAX_BODY_BYTES,
        },
    ),
    Middleware(EntityTags),
)
app.user_middleware.extend(pipeline)

# The first is matched first: calendars' paths look like ids of events to
# those of events, which are read most.
routers = (
    calendars.router,
    events.router,
    rsvps.router,
    check_ins.router,
    feedback.router,
    images.router,
    accounts.router,
    users.router,
    auth.router,
    audit.router,
    processes.router,
    task_routes.router,
    short_form.router,
    service.router,
)
for router in routers:
    # Not include_router, which matches every path twice: 20 µs a request.
    app.router.routes.extend(router.routes)
problems.install(app, routers)
service.install_docs(app, settings.docs_open_to)


def _openapi() -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=NAME,
            version=VERSION,
            description=docs.DESCRIPTION,
            tags=docs.TAGS,
            routes=app.routes,
        )
        app.openapi_schema = processes.describe(problems.describe(schema))
    return app.openapi_schema


app.openapi = _openapi  # type: ignore[method-assign]  # FastAPI's own way
