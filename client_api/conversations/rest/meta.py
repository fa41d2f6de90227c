"""What the API says of itself: its description, its reference page, its problems."""

from __future__ import annotations

import functools

from aiohttp import web

from client_api.conversations.answers import encode, tagged_bytes
from client_api.conversations.api import Api, Call
from client_api.conversations.openapi import document
from client_api.conversations.reference import reference
from client_api.web.static_files import PAGE_HEADERS, StaticFile
from homeserver.app_keys import CONFIG
from homeserver.errors import NotFound
from homeserver.services.conversations.problems import TITLES
from homeserver.services.conversations.shapes.base import Shape

STYLE = StaticFile.read("reference.css", "text/css")
api = Api("This API", "What the API says of itself.")


class Server(Shape, frozen=True, kw_only=True):
    """The instance that answers."""

    server_name: str
    version: str = "1"
    openapi: str = "/api/v1/openapi.json"
    reference: str = "/api/v1/"


class ProblemKind(Shape, frozen=True, kw_only=True):
    """A kind of problem, as its ``type`` names it."""

    code: str
    title: str


@api.get("/server", scope=None)
async def get_server(call: Call) -> Server:
    """Tell which instance this is."""
    return Server(server_name=call.app[CONFIG].server_name)


@api.get("/problems/{code}", scope=None)
async def get_problem(call: Call) -> ProblemKind:
    """Explain a kind of problem: the address is the ``type`` of problem details."""
    title = TITLES.get(call.path("code"))
    if title is None:
        raise NotFound("There is no such kind of problem")
    return ProblemKind(code=call.path("code"), title=title)


@api.get("/openapi.json", scope=None, media_type="application/json")
async def get_openapi(call: Call) -> web.Response:
    """Read this API's OpenAPI 3.1 document."""
    body = _documents(call.app[CONFIG].public_base_url)[0]
    return tagged_bytes(call.request, body, "application/json")


@api.get("/", scope=None, media_type="text/html")
async def get_reference(call: Call) -> web.Response:
    """Read this API's reference as a page."""
    body = _documents(call.app[CONFIG].public_base_url)[1]
    return tagged_bytes(call.request, body, "text/html", PAGE_HEADERS)


@api.get("/reference.css", scope=None, media_type="text/css")
async def get_reference_style(call: Call) -> web.Response:
    """Read the reference page's style."""
    return STYLE.answer(call.request)


@functools.cache
def _documents(base_url: str) -> tuple[bytes, bytes]:
    from client_api.conversations.rest import ALL  # this module is one of them

    made = document(ALL, base_url.rstrip("/"))
    return encode(made), reference(made).encode()
