"""Says by its exit status whether the web process of this container answers.

    python -m deploy.healthcheck
"""

import os
import sys
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address

_SECONDS = 4
# Who listens at all addresses is asked at this machine's own.
_OWN = {4: "127.0.0.1", 6: "::1"}


def main() -> int:
    """The command."""
    port = int(os.environ.get("PORT") or 8000)
    address = ip_address(os.environ.get("BIND_ADDRESS") or "0.0.0.0")
    host = _OWN[address.version] if address.is_unspecified else str(address)
    connection = HTTPConnection(host, port, timeout=_SECONDS)
    try:
        connection.request("GET", "/health/live")
        return int(connection.getresponse().status != 200)
    except (OSError, HTTPException) as error:
        print(f"muster: nothing answers at {host}, port {port}: {error!r}")
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
