"""What surrounds every request: one pure ASGI class a module.

`app.py` puts them in order. They are no place for what the app does: what they
need of it, such as who calls, they get as arguments there. A stage that has
nothing to wait for is a plain function, which returns what the next one does:
a coroutine less, as long as the request lasts.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

# Answers what went wrong: `routes/problems.py` makes it a problem+json.
FaultHandler = Callable[[Request, Exception], Awaitable[Response]]
