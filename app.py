"""The front door: builds the app from its parts, nothing else."""

from functools import partial
from typing import Any

from fastapi.openapi.utils import get_openapi
from starlette.middleware import Middleware

from config import db, telemetry
from config.broker import broker_of
from config.chores import Chore
from config.firebase import Firebase
from config.health import Check, Health, redis_check
from config.logs import AccessLog, configure_logging
from config.mail import transport_of
from config.main import (
    MAX_BODY_BYTES,
    MAX_IMAGE_BODY_BYTES,
    NAME,
    VERSION,
    app,
    settings,
)
from config.metrics import SAMPLE_SECONDS, Metrics
from config.middleware.bodies import BodyLimit
from config.middleware.callers import Callers, ServiceKey
from config.middleware.client_caching import ClientCaching
from config.middleware.context import Observer, RequestContext
from config.middleware.cors import Cors
from config.middleware.disconnects import Disconnects
from config.middleware.docs_gate import DocsGate
from config.middleware.door import Door
from config.middleware.entity_tags import EntityTags
from config.middleware.faults import Faults
from config.middleware.heads import HeadRequests
from config.middleware.hosts import TrustedHosts
from config.middleware.http_events import HttpEvents, Recorder
from config.middleware.rate_limits import RateLimits
from config.middleware.security_headers import SecurityHeaders
from config.middleware.upgrades import Upgrades
from config.passing import Passage
from config.remote_keys import RemoteKeys
from config.settings import TaskWorker
from docs import service as docs
from models.exceptions import (
    MissingKeyError,
    NotFoundError,
    PreflightRefusedError,
    UnknownHostError,
)
from routes import (
    accounts,
    api_keys,
    audit,
    auth,
    boards,
    calendars,
    check_ins,
    event_compute,
    events,
    feedback,
    gpus,
    health,
    http_events,
    images,
    metrics,
    problems,
    processes,
    rsvps,
    schemes,
    service,
    session_door,
    session_requests,
    session_templates,
    sessions,
    short_form,
    tiers,
    users,
)
from routes import tasks as task_routes
from utils import callers, docs_visitors, rate_limits, tasks
from utils.chores import declared_chores, door_chores, session_chores
from utils.collections import declared_indexes
from utils.session_service import SessionService
from utils.totals import declared_levels, declared_totals

__all__ = ["app"]

configure_logging(settings)

# Whoever watches the service shows no credentials, or a token for that alone;
# the docs have a gate of their own.
WATCHED = ("/health/", "/metrics")
# A page of the docs fetches its own assets.
UNLIMITED = (*WATCHED, "/docs/assets/", "/redoc/")
OPEN_PATHS = (*WATCHED, "/docs", "/redoc", "/openapi.json")

# The first is matched first: calendars' paths look like ids of events to
# those of events, which are read most.
routers = (
    calendars.router,
    events.router,
    rsvps.router,
    check_ins.router,
    event_compute.router,
    boards.router,
    feedback.router,
    images.router,
    accounts.router,
    users.router,
    auth.router,
    api_keys.router,
    audit.router,
    processes.router,
    task_routes.router,
    short_form.router,
    gpus.router,
    session_requests.router,
    session_templates.router,
    sessions.router,
    http_events.router,
    health.router,
    metrics.router,
    tiers.router,
    service.router,
)
templates = problems.templates_of(routers, but=WATCHED)

# What the lifespan builds the services from.
app.state.settings = settings
app.state.indexes = declared_indexes()
app.state.mail = transport_of(settings)
app.state.firebase = Firebase(
    settings.firebase_project_id, RemoteKeys(settings.firebase_keys_url)
)
app.state.limiter = rate_limits.limiter_of(settings, templates)
app.state.broker = broker_of(
    settings,
    find_due=tasks.list_due,
    wake=tasks.queued,
    takes=settings.task_worker is TaskWorker.INLINE,
)
app.state.passage = Passage(
    own_names=(settings.api_key_name, session_door.COOKIE)
)
app.state.session_door = session_door.SessionDoor(
    app.state.passage,
    admit=app.state.limiter.admit,
    origins=settings.origins,
    key_name=settings.api_key_name,
)
app.state.metrics = Metrics(
    declared_totals(app.state.limiter), declared_levels()
)
app.state.chores = (
    *declared_chores(
        app.state.mail, app.state.limiter, app.state.broker
    ),
    *door_chores(app.state.passage),
    Chore("counting", app.state.metrics.sample, every_seconds=SAMPLE_SECONDS),
)
# The lifespan builds inventory and engine, and serves sessions with them.
app.state.serve_sessions = SessionService
app.state.chores_of = session_chores

# What this process can't serve without, each with its own time limit.
checks = [Check("database", db.ping, seconds=2)]
if settings.redis_url is not None:
    checks.append(redis_check(settings.redis_url.get_secret_value(), seconds=1))
app.state.health = Health(checks)

# Who is told of each request that begins, and that is over.
heralds: list[Observer] = [app.state.metrics.begin]
if telemetry.IS_ON:
    heralds.append(telemetry.name_span)
observers: list[Observer] = [app.state.metrics.end, Recorder(but=WATCHED)]
if settings.log_requests:
    observers.append(AccessLog(settings))

# Stages that requests pass on more ways than one.
security_headers = Middleware(
    SecurityHeaders, https_only=not settings.in_development
)
client_caching = Middleware(
    ClientCaching,
    key_name=settings.api_key_name,
    everybody=settings.api_key is None,
    by_origin=bool(settings.origins),
)
trusted_hosts = Middleware(
    TrustedHosts,
    hosts=settings.hosts,
    on_fault=problems.on_fault,
    refusal=UnknownHostError,
    open_paths=("/health/live", "/health/ready"),
)
faults = Middleware(Faults, on_fault=problems.on_fault)
find_callers = Middleware(
    Callers,
    identify=callers.identify,
    key_name=settings.api_key_name,
    service_key=settings.service_key,
    open_paths=WATCHED,
)

# What a request passes on its way in, outermost first; its answer comes back
# the other way. A middleware of yours, pure ASGI, is one more line.
pipeline = (
    Middleware(Upgrades),
    Middleware(
        RequestContext,
        on_fault=problems.on_fault,
        heralds=heralds,
        observers=observers,
    ),
    Middleware(Disconnects),
    Middleware(
        Door,
        stages=(
            security_headers,
            client_caching,
            trusted_hosts,
            faults,
            find_callers,
        ),
        door=app.state.session_door,
    ),
    Middleware(
        HttpEvents,
        is_admin=callers.is_admin,
        trace_all=settings.http_events_trace,
        but=WATCHED,
    ),
    security_headers,
    client_caching,
    trusted_hosts,
    Middleware(
        Cors,
        origins=settings.origins,
        api_key_name=settings.api_key_name,
        on_fault=problems.on_fault,
        refusal=PreflightRefusedError,
    ),
    faults,
    Middleware(
        DocsGate,
        access=settings.docs_open_to,
        admit=docs_visitors.admit,
        key_name=settings.api_key_name,
        on_fault=problems.on_fault,
        absence=NotFoundError,
    ),
    find_callers,
    Middleware(
        RateLimits,
        admit=app.state.limiter.admit,
        open_paths=UNLIMITED,
    ),
    Middleware(
        ServiceKey,
        is_needed=settings.service_key is not None,
        refusal=partial(MissingKeyError, settings.api_key_name),
        open_paths=OPEN_PATHS,
    ),
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

for router in routers:
    # Not include_router, which matches every path twice: 20 µs a request.
    app.router.routes.extend(router.routes)
problems.install(app, routers)
service.install_docs(app)


def _openapi() -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=NAME,
            version=VERSION,
            description=docs.DESCRIPTION,
            tags=docs.TAGS,
            routes=app.routes,
        )
        schemes.describe(
            schema,
            app.state.api_routes,
            key_name=settings.api_key_name,
            is_key_needed=settings.service_key is not None,
            open_paths=OPEN_PATHS,
        )
        app.openapi_schema = processes.describe(problems.describe(schema))
    return app.openapi_schema


app.openapi = _openapi  # type: ignore[method-assign]  # FastAPI's own way
