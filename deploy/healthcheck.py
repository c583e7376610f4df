"""Says by its exit status whether the web process of this container answers.

    python -m deploy.healthcheck
"""

import os
import sys
from http.client import HTTPConnection

_SECONDS = 4


def main() -> int:
    """The command."""
    port = int(os.environ.get("PORT") or 8000)
    connection = HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", "/health/live")
        return int(connection.getresponse().status != 200)
    except OSError as error:
        print(f"muster: nothing answers on port {port}: {error}")
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
