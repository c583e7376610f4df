"""The server: gunicorn's settings, read by `gunicorn -c python:config.server`.

Module-level names are gunicorn's own: each one is a setting or a hook.
"""

import asyncio
import gc
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from types import FrameType
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from uvicorn_worker import UvicornWorker

from config import db
from config.embedded import EmbeddedDatabase, EmbeddedDatabaseError
from config.lifespan import services
from config.logs import configure_logging, configure_server_logging
from config.mail import warning_of
from config.middleware.door import MAX_MESSAGE_BYTES
from config.protocol import MusterProtocol, MusterWebSocket
from config.settings import load_settings_or_exit

# Requests in flight at a stop get this long; streams are cut then, and the
# lifespan still ends in order before gunicorn's own patience does.
_DRAIN_SECONDS = 20

# Where Prometheus' library looks for the folder. What names it there reads it
# at once, so that it must not be imported here.
_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_folders: list[str] = []

# What the master says goes to gunicorn's places, and to LOG_FILE.
_LOG = logging.getLogger("gunicorn.error")

# A killed arbiter is noticed within this time.
_NOTIFY_SECONDS = 1

# Before a worker that could not start is replaced by another one.
_PAUSE_SECONDS = 1.0

# Closing the embedded database writes a checkpoint, seconds at the most.
_CLOSE_SECONDS = 60.0

# Until gunicorn sets its own handlers, after `on_starting`, Ctrl-C would show
# a trace of Python's. What was started by then closes by itself.
signal.signal(signal.SIGINT, signal.SIG_DFL)

_settings = load_settings_or_exit()
_embedded = (
    EmbeddedDatabase(_settings.data_dir)
    if _settings.mongo_db_uri is None
    else None
)


class MusterLogger(Logger):
    """Writes what the server says in the form of all other lines."""

    def setup(self, cfg: Config) -> None:
        """Follows gunicorn's settings, but for the form."""
        super().setup(cfg)
        configure_server_logging(_settings)


class MusterWorker(UvicornWorker):
    """Serves the app on uvloop and `MusterProtocol`, without naming them.

    It ends when the arbiter was killed: a worker that nobody watches would
    hold the port, and the embedded database, for ever.
    """

    CONFIG_KWARGS: dict[str, Any] = {
        "loop": "uvloop",
        "http": MusterProtocol,
        # Only what leads to a session's door comes so far: `MusterProtocol`.
        "ws": MusterWebSocket,
        "ws_max_size": MAX_MESSAGE_BYTES,
        # A notebook's messages are small, and a bomb of them is large.
        "ws_per_message_deflate": False,
        "lifespan": "on",
        "server_header": False,
        # To ask of each request whether its proxy is trusted costs 5 µs.
        "proxy_headers": bool(_settings.trusted_proxies),
        # Muster writes a line for every request itself.
        "access_log": False,
        "timeout_graceful_shutdown": _DRAIN_SECONDS,
        "timeout_notify": _NOTIFY_SECONDS,
    }

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # `UvicornWorker` has sent what uvicorn says to gunicorn's places.
        configure_logging(_settings)

    def run(self) -> None:
        """Serves; one that replaces another, and can't start, is replaced.

        The arbiter takes it for a fault of the app, and would end the service,
        though the others serve: the database may be away for a moment. The
        first workers do end it: nobody was served yet.
        """
        try:
            super().run()
        except SystemExit as ending:
            if ending.code != Arbiter.WORKER_BOOT_ERROR or self.is_first:
                raise
            time.sleep(_PAUSE_SECONDS)
            sys.exit(1)

    @property
    def is_first(self) -> bool:
        """Whether it is one of those that the service began with."""
        return bool(self.age <= self.cfg.workers)

    async def callback_notify(self) -> None:
        """Tells the arbiter that this worker is well, if there is one."""
        if os.getppid() != self.ppid:
            os.kill(os.getpid(), signal.SIGTERM)
        self.notify()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends in order on SIGQUIT too, by which the arbiter hurries us.

        uvicorn does not know it, and would let the arbiter wait in vain.
        """
        os.kill(os.getpid(), signal.SIGTERM)


bind = _settings.bound_to
workers = _settings.web_concurrency
worker_class = "config.server.MusterWorker"
logger_class = "config.server.MusterLogger"
loglevel = "info"
timeout = 60
graceful_timeout = _DRAIN_SECONDS + 10
keepalive = 75
forwarded_allow_ips = _settings.trusted_proxies
# Its default place is the operator's home, which a service has no business in.
control_socket_disable = True


def on_starting(_server: Arbiter) -> None:
    """Checks the database before any worker starts, and holds it open.

    The arbiter counts as a user of the embedded database: it lives on while
    single workers die and are replaced. They inherit the name of an empty
    folder, where they count what they do.
    """
    try:
        if _embedded is not None:
            _embedded.join()
        asyncio.run(_check_database())
    except (db.DatabaseStartError, EmbeddedDatabaseError) as error:
        sys.exit(f"muster: {error}")
    warning = warning_of(_settings)
    if warning is not None:
        print(f"muster: {warning}", file=sys.stderr, flush=True)
    _folders.append(tempfile.mkdtemp(prefix="muster-metrics-"))
    os.environ[_METRICS_VARIABLE] = _folders[-1]


def when_ready(server: Arbiter) -> None:
    """Imports what all workers share, and says where the service is."""
    _import_app(server)
    address = f"http://localhost:{_settings.port}"
    lines = [f"Muster is at {address} (docs: {address}/docs)"]
    if _settings.in_development and _embedded is not None:
        lines.append(f"Its data lies in {_settings.data_dir.resolve()}")
    print("\n".join(lines), flush=True)


def child_exit(_server: Arbiter, worker: MusterWorker) -> None:
    """Forgets what a worker that ended had going on; what it did stays."""
    _forget(worker.pid)


def on_exit(_server: Arbiter) -> None:
    """Waits until the embedded database is closed, unless others use it."""
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)
    if _embedded is not None:
        _embedded.leave()
        _embedded.wait_until_closed(_CLOSE_SECONDS)


def _import_app(server: Arbiter) -> None:
    """Imports the app before the first fork: workers begin with it.

    What nobody writes to is then in memory once, and a worker that replaces
    another one serves at once. gunicorn's `preload_app` would import it before
    `on_starting`, and so without the folder of the metrics.

    All of it lives as long as the service, and is left out of garbage
    collections: to walk through it again and again took a tenth of a worker's
    time, held up requests for 60 ms, and would give each worker its own copy.
    """
    gc.disable()
    try:
        server.app.wsgi()
    except BaseException:  # pylint: disable=broad-exception-caught
        # Of a `RuntimeError`, gunicorn would print the message alone.
        _LOG.exception("The app can't be imported")
        server.halt(exit_status=1)
    gc.collect()
    gc.freeze()
    # What a dozen requests hold in flight is no reason to look for garbage:
    # with the usual 700, that took another 4 % of the time.
    gc.set_threshold(10_000)
    gc.enable()
    # The master's own metrics, which it never counts, are nobody's.
    _forget(os.getpid())


def _forget(process: int) -> None:
    # Imported once its folder is known: see `on_starting`.
    # pylint: disable-next=import-outside-toplevel
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(process)  # type: ignore[no-untyped-call]


async def _check_database() -> None:
    async with services(_settings, {}):
        return
