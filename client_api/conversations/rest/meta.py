"""What the API says of itself: its description, its reference page, its problems."""

from __future__ import annotations

from client_api.conversations.api import Api, Call
from homeserver.app_keys import CONFIG
from homeserver.errors import NotFound
from homeserver.services.conversations.problems import TITLES
from homeserver.services.conversations.shapes.base import Shape

api = Api("This API")


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
