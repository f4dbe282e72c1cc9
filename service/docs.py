"""/docs: the OpenAPI document, to be read and tried in a browser, without a byte from another server.

Swagger UI's files lie in the package fastapi-offline, of which nothing else is used.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Response

from contract.errors import NotFound

router = APIRouter(include_in_schema=False)

# Swagger UI writes styles into its elements and draws with images that are part of its own; it loads nothing else.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Transferset API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript; the document itself is at <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, persistAuthorization: false, validatorUrl: null,
});
"""
TYPES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}


@router.get("/docs")
def show_docs() -> Response:
    return Response(PAGE, media_type="text/html", headers={"Content-Security-Policy": POLICY})


@router.get("/docs/start.js")
def start_docs() -> Response:
    return Response(START, media_type="text/javascript")


@router.get("/docs/{name}")
def fetch_asset(name: str) -> Response:
    if name not in TYPES:
        raise NotFound("There is nothing at this address; /docs is the page")
    content = _static().joinpath(name).read_bytes()
    return Response(content, media_type=TYPES[name], headers={"Cache-Control": "public, max-age=86400"})


def _static() -> Traversable:
    return files("fastapi_offline") / "static"
