"""Service: what this is, and the pages that explain it.

The pages' scripts and styles come from a package, through Muster itself: they
work offline, and under a policy that allows nothing from elsewhere.
"""

import base64
import hashlib
import re
from pathlib import Path
from typing import Final

import fastapi_offline
from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.staticfiles import StaticFiles

from config.main import NAME, VERSION, settings
from config.middleware.docs_gate import DOCS, OPENAPI, REDOC
from config.settings import DocsAccess
from docs import service as docs
from routes.problems import GUARDED, problems

router = APIRouter(tags=["Service"])

_ASSETS: Final = Path(fastapi_offline.__file__).parent / "static"
_ASSETS_PATH: Final = f"{DOCS}/assets"
_REDOC_PATH: Final = f"{REDOC}/redoc.js"

# ReDoc's script asks its maker's network for this picture at every visit.
_REDOC_LOGO: Final = b"https://cdn.redoc.ly/redoc/logo-mini.svg"

# What a browser showed at the gate, an admin's password, is not for the calls
# that are tried out: those show what "Authorize" was told.
_PRESETS: Final = b"presets: ["
_OWN_CREDENTIALS: Final = (
    b'requestInterceptor: (request) => request.loadSpec ? request : '
    b'Object.assign(request, {credentials: "omit"}),\n    ' + _PRESETS
)
_INLINE_SCRIPT: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


class Service(BaseModel):
    """What this service is."""

    name: str = Field(examples=[NAME])
    version: str | None = Field(
        description="Null where the docs are not for everybody."
    )
    docs: str | None = Field(description="Null where there are none.")
    redoc: str | None
    openapi: str | None


@router.get("/", **docs.GET_SERVICE, responses=problems(*GUARDED))
async def get_service() -> Service:
    access = settings.docs_open_to
    has_docs = access is not DocsAccess.OFF
    return Service(
        name=NAME,
        # Who looks for known faults must not be told which we may have.
        version=VERSION if access is DocsAccess.PUBLIC else None,
        docs=DOCS if has_docs else None,
        redoc=REDOC if has_docs else None,
        openapi=OPENAPI if has_docs else None,
    )


def install_docs(app: FastAPI) -> None:
    """Serves /docs, /redoc and /openapi.json; `DocsGate` says to whom."""
    pages = APIRouter(include_in_schema=False)
    swagger = get_swagger_ui_html(
        openapi_url=OPENAPI,
        title=f"{NAME}: API",
        swagger_js_url=f"{_ASSETS_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{_ASSETS_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{_ASSETS_PATH}/favicon.png",
        swagger_ui_parameters={
            "displayRequestDuration": True,
            "persistAuthorization": True,
            "tagsSorter": "alpha",
        },
    )
    swagger.body = bytes(swagger.body).replace(_PRESETS, _OWN_CREDENTIALS)
    redoc = get_redoc_html(
        openapi_url=OPENAPI,
        title=f"{NAME}: API reference",
        redoc_js_url=_REDOC_PATH,
        redoc_favicon_url=f"{_ASSETS_PATH}/favicon.png",
        with_google_fonts=False,
    )

    script = (_ASSETS / "redoc.standalone.js").read_bytes()
    script = script.replace(_REDOC_LOGO, f"{_ASSETS_PATH}/favicon.png".encode())

    @pages.get(DOCS)
    async def _docs() -> Response:
        return _page(swagger)

    @pages.get(REDOC)
    async def _redoc() -> Response:
        return _page(redoc)

    @pages.get(_REDOC_PATH)
    async def _redoc_script() -> Response:
        return Response(script, media_type="text/javascript")

    @pages.get(OPENAPI)
    async def _openapi() -> Response:
        return JSONResponse(app.openapi())

    app.include_router(pages)
    app.mount(_ASSETS_PATH, StaticFiles(directory=_ASSETS))


def _page(html: HTMLResponse) -> Response:
    """The page under a policy that allows only what it is made of."""
    scripts = [
        base64.b64encode(hashlib.sha256(script).digest()).decode()
        for script in _INLINE_SCRIPT.findall(bytes(html.body))
    ]
    hashes = " ".join(f"'sha256-{digest}'" for digest in scripts)
    # Both pages style themselves by script; ReDoc searches in a worker.
    policy = (
        f"default-src 'none'; script-src 'self' {hashes}; worker-src blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    return Response(
        html.body,
        media_type="text/html",
        headers={"Content-Security-Policy": policy},
    )
