"""What holds for all operations: problems, ETags, checks of what comes in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from client_api.conversations.answers import check_unchanged, problem_answer
from client_api.conversations.api import Api, Call
from client_api.conversations.keys import IDEMPOTENCY
from homeserver.app_keys import ACCOUNT_STANDING, SESSIONS, TERMS
from homeserver.errors import MatrixError, NotFound
from homeserver.services.conversations.shapes.base import Input, Shape
from homeserver.services.conversations.shapes.pages import Page
from homeserver.web import ERROR_FORMATS, ErrorFormats, error_middleware
from tests.integration.single import Instance

from .conftest import ApiUser

HTTP = TestClient[Any, Any]


class Thing(Shape, frozen=True, kw_only=True):
    name: str
    size: int = 0


class NewThing(Input, frozen=True, kw_only=True):
    name: Annotated[str, msgspec.Meta(max_length=5)]
    size: int = 0


class Which(Input, frozen=True, kw_only=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    kind: list[str] = msgspec.field(default_factory=list)


@pytest.fixture
async def http() -> AsyncIterator[HTTP]:
    api = Api("Things")

    @api.get("/things/{name}", scope=None)
    async def get_thing(call: Call) -> Thing:
        """Read a thing."""
        return Thing(name=call.path("name"))

    @api.patch("/things/{name}", scope=None)
    async def change_thing(call: Call) -> Thing:
        """Change a thing."""
        check_unchanged(call.request, Thing(name=call.path("name")))
        return Thing(name="changed")

    @api.post("/things", scope=None, status=201)
    async def make_thing(call: Call[NewThing]) -> Thing:
        """Make a thing."""
        return Thing(name=call.body.name, size=call.body.size)

    @api.get("/things", scope=None)
    async def list_things(call: Call[None, Which]) -> Page[Thing]:
        """List things."""
        return Page(items=[Thing(name=kind, size=call.query.limit) for kind in call.query.kind])

    app = web.Application(middlewares=[error_middleware])
    formats: ErrorFormats = {"/api/": problem_answer}
    app[ERROR_FORMATS] = formats
    app.add_routes(api.definitions)
    async with TestClient(TestServer(app)) as client:
        yield client


async def problem(response: Any, status: int) -> Any:
    assert (response.status, response.content_type) == (status, "application/problem+json")
    return await response.json()


async def test_a_body_is_decoded_and_an_answer_encoded(http: HTTP) -> None:
    response = await http.post("/api/v1/things", json={"name": "cup", "size": 3})

    assert response.status == 201
    assert await response.json() == {"name": "cup", "size": 3}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": 1}, "name"),
        ({"name": "too long"}, "name"),
        ({"name": "cup", "size": "3"}, "size"),
    ],
)
async def test_a_wrong_field_is_named(http: HTTP, body: Any, field: str) -> None:
    response = await http.post("/api/v1/things", json=body)

    told = await problem(response, 422)
    assert (told["code"], told["field"]) == ("invalid_body", field)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"[]", 422),
        (b"\xff", 400),
        (b'{"name": "cup", "colour": "red"}', 422),
        (b"[" * 200_000, 400),
    ],
)
async def test_a_bad_body_is_a_problem(http: HTTP, body: bytes, status: int) -> None:
    response = await http.post("/api/v1/things", data=body)

    await problem(response, status)


async def test_a_query_is_parsed_and_checked(http: HTTP) -> None:
    response = await http.get("/api/v1/things?limit=7&kind=cup&kind=plate")
    refused = await http.get("/api/v1/things?limit=0")

    assert [i["name"] for i in (await response.json())["items"]] == ["cup", "plate"]
    assert (await problem(refused, 422))["field"] == "limit"


async def test_what_has_not_changed_is_not_sent_again(http: HTTP) -> None:
    first = await http.get("/api/v1/things/cup")

    again = await http.get("/api/v1/things/cup", headers={"If-None-Match": first.headers["ETag"]})
    other = await http.get("/api/v1/things/plate", headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status, await again.read()) == (304, b"")
    assert other.status == 200


async def test_a_change_of_what_has_changed_meanwhile_is_refused(http: HTTP) -> None:
    tag = (await http.get("/api/v1/things/cup")).headers["ETag"]

    done = await http.patch("/api/v1/things/cup", headers={"If-Match": tag})
    refused = await http.patch("/api/v1/things/cup", headers={"If-Match": '"another"'})

    assert done.status == 200
    assert (await problem(refused, 412))["code"] == "precondition_failed"


async def test_what_does_not_exist_is_a_problem_too(nobody: ApiUser) -> None:
    told = await nobody.get("/no/such/thing", status=404)

    assert told["code"] == "no_such_endpoint"


async def test_the_instance_says_who_it_is(nobody: ApiUser) -> None:
    assert (await nobody.get("/server"))["server_name"] == "one.test"


async def test_kinds_of_problems_are_explained(nobody: ApiUser) -> None:
    told = await nobody.get("/problems/rate_limited")

    assert told["title"] == "Too many requests"


class Counted:
    """An operation of which the test can tell how often it ran, and a caller who tries again."""

    def __init__(self, http: HTTP, token: str) -> None:
        self.http = http
        self.token = token
        self.ran: list[str] = []

    async def post(self, key: str, name: str) -> tuple[int, Any, bool]:
        headers = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": key}
        response = await self.http.post("/api/v1/counted", json={"name": name}, headers=headers)
        replayed = response.headers.get("Idempotency-Replayed") == "true"
        return response.status, await response.json(content_type=None), replayed


@pytest.fixture
async def counted(instance: Instance, alice: ApiUser) -> AsyncIterator[Counted]:
    api = Api("Counting")

    @api.post("/counted", scope="messages:write", status=201)
    async def count(call: Call[NewThing]) -> Thing:
        """Count."""
        it.ran.append(call.body.name)
        if call.body.name == "fail":
            raise MatrixError("Something is broken", status=503)
        if call.body.name == "none":
            raise NotFound("There is no such thing")
        return Thing(name=call.body.name, size=len(it.ran))

    wiring = instance.wiring
    app = web.Application(middlewares=[error_middleware])
    formats: ErrorFormats = {"/api/": problem_answer}
    app[ERROR_FORMATS] = formats
    app[SESSIONS] = wiring.sessions
    app[TERMS] = wiring.account_parts.terms
    app[ACCOUNT_STANDING] = wiring.standing
    app[IDEMPOTENCY] = wiring.conversations.idempotency
    app.add_routes(api.definitions)
    async with TestClient(TestServer(app)) as client:
        it = Counted(client, alice.token)
        yield it


async def test_the_same_key_gives_the_same_answer_once(counted: Counted) -> None:
    first = await counted.post("k1", "cup")

    again = await counted.post("k1", "cup")
    other = await counted.post("k2", "cup")

    assert first == (201, {"name": "cup", "size": 1}, False)
    assert again == (201, {"name": "cup", "size": 1}, True)
    assert other == (201, {"name": "cup", "size": 2}, False)


async def test_a_key_is_for_one_request(counted: Counted) -> None:
    await counted.post("k1", "cup")

    status, told, _ = await counted.post("k1", "plate")

    assert (status, told["code"]) == (422, "idempotency_mismatch")
    assert counted.ran == ["cup"]


async def test_a_refusal_is_kept_and_a_failure_is_not(counted: Counted) -> None:
    for key, name in (("k1", "none"), ("k1", "none"), ("k2", "fail"), ("k2", "fail")):
        await counted.post(key, name)

    status, told, replayed = await counted.post("k1", "none")

    assert counted.ran == ["none", "fail", "fail"]
    assert (status, told["code"], replayed) == (404, "not_found", True)


async def test_requests_at_the_same_time_are_done_once(counted: Counted) -> None:
    results = await asyncio.gather(*(counted.post("k1", "cup") for _ in range(5)))

    assert counted.ran == ["cup"]
    assert {status for status, _, _ in results} <= {201, 409}


async def test_an_impossible_key_is_refused(counted: Counted) -> None:
    status, told, _ = await counted.post("x" * 256, "cup")

    assert (status, told["code"]) == (400, "invalid_parameter")
