"""The one global FastAPI app, and the settings that the house stands on.

Only `app.py` and the tests touch `app`; everybody may read the settings.
"""

from typing import Final

from fastapi import FastAPI

from config import telemetry
from config.lifespan import lifespan
from config.settings import Settings, load_settings_or_exit

NAME: Final = "Muster"
VERSION: Final = "0.1.0"
MAX_BODY_BYTES: Final = 1024 * 1024
# Of an upload, what surrounds its file included.
MAX_IMAGE_BODY_BYTES: Final = 10 * 1024 * 1024

settings: Final[Settings] = load_settings_or_exit()
MONGO_DB_URI: Final = settings.mongo_db_uri
JWT_SECRET_KEY: Final[str] = settings.signing_key()

app: Final = FastAPI(
    title=NAME,
    version=VERSION,
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
    # A redirect would go to whatever Host the client sent.
    redirect_slashes=False,
    lifespan=lifespan,
    telemetry=telemetry.CONFIG,
)
