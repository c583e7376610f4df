"""Muster's own server settings, without the access log."""

# pylint: disable-next=wildcard-import,unused-wildcard-import  # Just these.
from config.server import *

accesslog = None  # type: ignore[assignment]  # Gunicorn's word for "none".
