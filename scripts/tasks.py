"""Submits calls of processes, watches them, fetches results; over HTTP.

python -m scripts.tasks submit np-array array=@signal.npy operation=normalize
python -m scripts.tasks watch ID
python -m scripts.tasks result ID --output result.npy

The service is at --url (MUSTER_URL, http://localhost:8000). Who calls is shown
by an access token in MUSTER_TOKEN, or by --email, with the password asked for.
"""

import argparse
import getpass
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TextIO

import httpx

_FINAL: Final = ("succeeded", "failed", "cancelled")
_BAR_WIDTH: Final = 30
_FORMS: Final = {
    ".npy": "application/x-npy",
    ".png": "image/png",
    ".json": "application/json",
}
# Longer than the stream is ever silent.
_TIMEOUT: Final = httpx.Timeout(20, read=60)


class _ClientError(Exception):
    """What can't be done; the message is one line."""


def main() -> None:
    """The command."""
    arguments = _arguments()
    try:
        with httpx.Client(base_url=arguments.url, timeout=_TIMEOUT) as client:
            token = _token(client, arguments)
            client.headers["Authorization"] = f"Bearer {token}"
            sys.exit(arguments.do(client, arguments))
    except _ClientError as error:
        sys.exit(f"muster: {error}")
    except httpx.TransportError as error:
        sys.exit(f"muster: {arguments.url} does not answer: {error}")
    except KeyboardInterrupt:
        sys.exit("muster: interrupted; the task goes on")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.tasks", description="Calls processes by HTTP."
    )
    url = os.environ.get("MUSTER_URL", "http://localhost:8000")
    parser.add_argument("--url", default=url, help="where Muster is")
    parser.add_argument("--email", help="whom to log in as")
    commands = parser.add_subparsers(required=True)
    submit = commands.add_parser("submit", help="call a process")
    submit.add_argument("path", help="its path, such as np-array")
    submit.add_argument(
        "given",
        nargs="*",
        metavar="name=value",
        help="an argument: JSON, text, or @file.npy",
    )
    submit.add_argument(
        "--no-watch", action="store_true", help="print its id, and end"
    )
    submit.set_defaults(do=_submit)
    for name, do, says in (
        ("watch", _watch, "follow a task to its end"),
        ("result", _result, "fetch what it returned"),
    ):
        command = commands.add_parser(name, help=says)
        command.add_argument("id", help="the task")
        command.set_defaults(do=do)
    command.add_argument(
        "--output",
        type=Path,
        help="a file that ends with .json, .npy or .png; else JSON is printed",
    )
    return parser.parse_args()


def _token(client: httpx.Client, arguments: argparse.Namespace) -> str:
    if arguments.email is None:
        token = os.environ.get("MUSTER_TOKEN")
        if not token:
            raise _ClientError("set MUSTER_TOKEN, or say --email")
        return token
    form = {
        "username": arguments.email,
        "password": getpass.getpass("Password: "),
    }
    tokens = _checked(client.post("/v1/auth/login", data=form)).json()
    return str(tokens["access_token"])


def _submit(client: httpx.Client, arguments: argparse.Namespace) -> int:
    path = f"/v1/processes/{arguments.path}"
    values: dict[str, Any] = {}
    files: dict[str, Path] = {}
    for text in arguments.given:
        name, separator, value = text.partition("=")
        if not separator:
            raise _ClientError(f"{text} is no name=value")
        if value.startswith("@"):
            files[name] = Path(value[1:])
        else:
            values[name] = _value(value)
    if files:
        response = _upload(client, path, values, files)
    else:
        response = client.post(path, json=values)
    task = _checked(response).json()
    print(task["id"], flush=True)
    if arguments.no_watch:
        return 0
    arguments.id = task["id"]
    return _watch(client, arguments)


def _upload(
    client: httpx.Client,
    path: str,
    values: dict[str, Any],
    files: dict[str, Path],
) -> httpx.Response:
    try:
        opened = {name: file.open("rb") for name, file in files.items()}
    except OSError as error:
        raise _ClientError(str(error)) from None
    try:
        fields = {name: json.dumps(value) for name, value in values.items()}
        return client.post(path, data=fields, files=opened)
    finally:
        for file in opened.values():
            file.close()


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _watch(client: httpx.Client, arguments: argparse.Namespace) -> int:
    """Shows a bar until the task is over; 0 where it has succeeded."""
    task: dict[str, Any] = {}
    for task in _states(client, arguments.id):
        _show(task, sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if task["status"] != "succeeded":
        reason = (task["error"] or {}).get("detail", "")
        print(f"muster: {task['status']}: {reason}", file=sys.stderr)
        return 1
    return 0


def _states(client: httpx.Client, task_id: str) -> Iterator[dict[str, Any]]:
    """The states of a task to the last one, over as many streams as need be."""
    last = ""
    while True:
        headers = {"Last-Event-ID": last} if last else {}
        path = f"/v1/tasks/{task_id}/events"
        try:
            with client.stream("GET", path, headers=headers) as stream:
                if stream.status_code != httpx.codes.OK:
                    stream.read()
                    _checked(stream)
                for line in stream.iter_lines():
                    name, _, value = line.partition(": ")
                    if name == "id":
                        last = value
                    elif name == "data":
                        task = json.loads(value)
                        yield task
                        if task["status"] in _FINAL:
                            return
        except httpx.RemoteProtocolError:
            # The worker that served it was replaced: another one goes on.
            continue


def _show(task: dict[str, Any], out: TextIO) -> None:
    done = round(task["progress"] * _BAR_WIDTH)
    shown = "█" * done + "·" * (_BAR_WIDTH - done)
    line = f"{shown} {task['progress']:4.0%} {task['status']} {task['message']}"
    if out.isatty():
        # Over the line before, whose rest is erased.
        print(f"\r{line}\x1b[K", end="", file=out, flush=True)
    else:
        print(line, file=out, flush=True)


def _result(client: httpx.Client, arguments: argparse.Namespace) -> int:
    output: Path | None = arguments.output
    form = _FORMS[".json"]
    if output is not None:
        if output.suffix not in _FORMS:
            endings = ", ".join(_FORMS)
            raise _ClientError(f"{output} ends with none of {endings}")
        form = _FORMS[output.suffix]
    path = f"/v1/tasks/{arguments.id}/result"
    with client.stream("GET", path, headers={"Accept": form}) as response:
        if response.status_code != httpx.codes.OK:
            response.read()
            _checked(response)
            raise _ClientError("the task is not over: watch it")
        if output is None:
            print(response.read().decode())
            return 0
        with output.open("wb") as file:
            for piece in response.iter_bytes():
                file.write(piece)
    return 0


def _checked(response: httpx.Response) -> httpx.Response:
    """A response, unless it is a problem.

    Raises:
        _ClientError: it is one.
    """
    if response.is_success:
        return response
    try:
        raise _ClientError(response.json()["detail"])
    except (ValueError, KeyError):
        raise _ClientError(f"status {response.status_code}") from None


if __name__ == "__main__":
    main()
