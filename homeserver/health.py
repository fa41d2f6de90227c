"""``/health``, ``/ready`` and ``/metrics``: for those who watch over the server."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from homeserver.app_keys import DATABASE
from homeserver.metrics import REGISTRY
from homeserver.web import json_response

routes = web.RouteTableDef()


@routes.get("/health")
async def health(_request: web.Request) -> web.Response:
    """Alive: the event loop answers."""
    return json_response({"status": "alive"})


@routes.get("/ready")
async def ready(request: web.Request) -> web.Response:
    """Ready: the database answers too (migrations are applied before anything is served)."""
    try:
        await request.app[DATABASE].fetchval("SELECT 1")
    except Exception:
        return json_response({"status": "the database does not answer"}, status=503)
    return json_response({"status": "ready"})


@routes.get("/metrics")
async def metrics(_request: web.Request) -> web.Response:
    """Figures for Prometheus."""
    return web.Response(
        body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST}
    )
