"""AWS Lambda's own runtime client in a process, and the service it asks."""

import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from pathlib import Path
from typing import Any, Self

from tests.service.running import REPOSITORY, environment, wait_for

_ARN = "arn:aws:lambda:eu-west-1:123456789012:function:muster"
_TRACE = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0"
_SECONDS = 120
_API = "/2018-06-01/runtime"


class Function:
    """`deploy.aws_lambda.handler`, as Lambda runs it.

    Args:
        log: where its lines go.
        settings: Muster's.
    """

    def __init__(self, log: Path, **settings: str) -> None:
        self.log = log
        self._server = _RuntimeApi()
        self._serving = threading.Thread(target=self._server.serve_forever)
        self._environment = environment(
            AWS_LAMBDA_RUNTIME_API=f"127.0.0.1:{self._server.server_port}",
            AWS_LAMBDA_FUNCTION_NAME="muster",
            AWS_LAMBDA_FUNCTION_VERSION="1",
            AWS_LAMBDA_FUNCTION_MEMORY_SIZE="1024",
            AWS_LAMBDA_LOG_GROUP_NAME="/aws/lambda/muster",
            AWS_LAMBDA_LOG_STREAM_NAME="1",
            **settings,
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._serving.start()
        with self.log.open("wb") as log:
            # It lives as long as this object says.
            # pylint: disable-next=consider-using-with
            self._process = subprocess.Popen(
                [sys.executable, "-m", "awslambdaric",
                 "deploy.aws_lambda.handler"],
                cwd=REPOSITORY,
                env=self._environment,
                stdout=log,
                stderr=log,
            )  # fmt: skip
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._process is not None
        # The way in which Lambda ends it.
        self._process.kill()
        self._process.wait()
        self._server.events.put(b"")
        self._server.shutdown()
        self._server.server_close()
        self._serving.join()

    def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        """What the function answers."""
        self._server.events.put(json.dumps(event).encode())
        wait_for(self._answered_or_ended, _SECONDS)
        assert self._server.answers.qsize(), self.log.read_text("utf-8")
        path, answer = self._server.answers.get()
        assert path == f"{_API}/invocation/id-1/response", answer
        said: dict[str, Any] = answer
        return said

    def _answered_or_ended(self) -> bool:
        assert self._process is not None
        ended = self._process.poll() is not None
        return ended or self._server.answers.qsize() > 0


class _RuntimeApi(ThreadingHTTPServer):
    """Lambda's interface between functions and events (2018-06-01)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.events: Queue[bytes] = Queue()
        self.answers: Queue[tuple[str, Any]] = Queue()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _RuntimeApi

    def do_GET(self) -> None:  # pylint: disable=invalid-name  # Its own name.
        """The next event, when there is one."""
        assert self.path == f"{_API}/invocation/next"
        event = self.server.events.get()
        if not event:
            # Nobody is there any more.
            self.close_connection = True
            return
        deadline = int((time.time() + _SECONDS) * 1000)
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", "id-1")
        self.send_header("Lambda-Runtime-Deadline-Ms", str(deadline))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", _ARN)
        self.send_header("Lambda-Runtime-Trace-Id", _TRACE)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(event)))
        self.end_headers()
        self.wfile.write(event)

    def do_POST(self) -> None:  # pylint: disable=invalid-name  # Its own name.
        """An answer, or why there is none."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.answers.put((self.path, json.loads(body)))

    # pylint: disable-next=redefined-builtin  # Its own name.
    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""
