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
from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel
from starlette.staticfiles import StaticFiles

from config.main import NAME, VERSION
from config.settings import DocsAccess
from docs import service as docs
from routes.dependencies import require_admin

router = APIRouter(tags=["Service"])

_ASSETS: Final = Path(fastapi_offline.__file__).parent / "static"
_ASSETS_PATH: Final = "/docs/assets"
_OPENAPI_PATH: Final = "/openapi.json"
_REDOC_PATH: Final = "/redoc/redoc.js"

# ReDoc's script asks its maker's network for this picture at every visit.
_REDOC_LOGO: Final = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_INLINE_SCRIPT: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


class Service(BaseModel):
    """What this service is."""

    name: str
    version: str
    docs: str
    redoc: str
    openapi: str


@router.get("/", **docs.GET_SERVICE)
async def get_service() -> Service:
    return Service(
        name=NAME,
        version=VERSION,
        docs="/docs",
        redoc="/redoc",
        openapi=_OPENAPI_PATH,
    )


def install_docs(app: FastAPI, access: DocsAccess) -> None:
    """Serves /docs, /redoc and /openapi.json to those who have `access`."""
    if access is DocsAccess.OFF:
        return
    gates = [Depends(require_admin)] if access is DocsAccess.ADMIN else []
    pages = APIRouter(include_in_schema=False, dependencies=gates)
    swagger = get_swagger_ui_html(
        openapi_url=_OPENAPI_PATH,
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
    redoc = get_redoc_html(
        openapi_url=_OPENAPI_PATH,
        title=f"{NAME}: API reference",
        redoc_js_url=_REDOC_PATH,
        redoc_favicon_url=f"{_ASSETS_PATH}/favicon.png",
        with_google_fonts=False,
    )

    script = (_ASSETS / "redoc.standalone.js").read_bytes()
    script = script.replace(_REDOC_LOGO, f"{_ASSETS_PATH}/favicon.png".encode())

    @pages.get("/docs")
    async def _docs() -> Response:
        return _page(swagger)

    @pages.get("/redoc")
    async def _redoc() -> Response:
        return _page(redoc)

    @pages.get(_REDOC_PATH)
    async def _redoc_script() -> Response:
        return Response(script, media_type="text/javascript")

    @pages.get(_OPENAPI_PATH)
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
