"""Signed requests coming in: who may, and every way in which one may be wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from federation.request_signing import (
    BadHeader,
    XMatrix,
    authorization_header,
    parse_authorization,
    signed_bytes,
)
from federation.server import AUTHENTICATOR, CONTENT, ORIGIN, authenticate_request
from homeserver.config import RateConfig
from homeserver.protocol.canonical import encode_canonical_json
from homeserver.services.rate_limits import RateLimits
from homeserver.web import error_middleware, json_response
from tests.federation.network import Net, Node, Peer, signing_key

PATH = "/_matrix/federation/v1/thing"


class Stage:
    """A peer, our server, and requests from the one to the other."""

    def __init__(self, node: Node, peer: Peer, http: Any) -> None:
        self.node, self.peer, self.http = node, peer, http

    def header(self, method: str, path: str, body: Any = None, **changes: Any) -> str:
        """A good Authorization header, but for the changes."""
        parts = {
            "method": method,
            "uri": path,
            "origin": self.peer.server_name,
            "destination": "us.test",
            "content": encode_canonical_json(body) if body is not None else None,
        }
        key = changes.pop("key", self.peer.key)
        if "signed_method" in changes:
            parts["method"] = changes.pop("signed_method")
        return authorization_header(key, **{**parts, **changes})

    async def send(
        self, method: str, path: str, body: Any = None, **changes: Any
    ) -> ClientResponse:
        """Send a request with a good header, but for the changes."""
        raw = changes.pop("raw", None)
        header = changes.pop("header", None) or self.header(method, path, body, **changes)
        data = raw if raw is not None else json.dumps(body) if body is not None else None
        return await self.http.request(
            method, URL(path, encoded=True), data=data, headers={"Authorization": header}
        )


@pytest.fixture
async def make_stage(net: Net, database):
    clients = []

    async def make(**options: Any) -> Stage:
        async def handler(request: web.Request) -> web.Response:
            await authenticate_request(request)
            return json_response({"origin": request[ORIGIN], "content": request[CONTENT]})

        node = await net.node(database, **options)
        app = web.Application(middlewares=[error_middleware], client_max_size=10_000)
        app[AUTHENTICATOR] = node.authenticator
        app.router.add_route("*", "/{path:.*}", handler)
        client = TestClient(TestServer(app))
        await client.start_server()
        clients.append(client)
        return Stage(node, await net.peer(), client)

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def stage(make_stage) -> Stage:
    return await make_stage()


async def refusal(response: ClientResponse) -> tuple[int, str]:
    """Status and code of an error."""
    return response.status, (await response.json())["errcode"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", PATH, None),
        ("GET", PATH + "?a=1&b=%20%C3%BC", None),
        ("PUT", PATH + "/%21room%3Aone/%24event%2Fx", {"b": 1, "a": {"c": "ü\u2028"}}),
        ("POST", PATH, {}),
        ("POST", PATH, {"large": 2**60, "float": 1.5}),
    ],
)
async def test_a_signed_request_is_let_in(stage, method, path, body):
    response = await stage.send(method, path, body)

    assert response.status == 200
    assert await response.json() == {"origin": stage.peer.server_name, "content": body or {}}


async def test_the_key_is_asked_for_once(stage):
    for _ in range(3):
        assert (await stage.send("GET", PATH)).status == 200

    assert stage.peer.key_requests == 1


async def test_a_request_of_an_older_server_names_no_destination(stage):
    message = signed_bytes(
        method="GET", uri=PATH, origin=stage.peer.server_name, destination=None, content=None
    )
    header = (
        f'X-Matrix origin="{stage.peer.server_name}",key="{stage.peer.key.key_id}",'
        f'sig="{stage.peer.key.sign(message)}"'
    )

    assert (await stage.send("GET", PATH, header=header)).status == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"uri": PATH + "/other"},
        {"signed_method": "PUT"},
        {"destination": "other.test"},
        {"origin": "other.test:1"},
        {"origin": "us.test"},
        {"origin": "not a name"},
        {"content": b'{"forged":1}'},
        {"key": signing_key(99)},
        {"key": signing_key(99, "unknown")},
    ],
)
async def test_a_forged_request_is_refused(stage, changes):
    response = await stage.send("GET", PATH, **changes)

    assert await refusal(response) == (401, "M_UNAUTHORIZED")


async def test_a_changed_body_is_refused(stage):
    response = await stage.send("PUT", PATH, {"a": 1}, raw='{"a":2}')

    assert await refusal(response) == (401, "M_UNAUTHORIZED")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer abc",
        "X-Matrix",
        "X-Matrix origin",
        'X-Matrix origin="peer.test",destination="us.test",key="ed25519:a"',
        'X-Matrix origin="peer.test",key="ed25519:a",sig="!!"',
        'X-Matrix origin="peer.test,key="ed25519:a",sig="x"',
        "X-Matrix " + "x=y," * 1500,
    ],
)
async def test_a_request_without_a_whole_signature_is_refused(stage, header):
    response = await stage.http.get(PATH, headers={"Authorization": header})

    assert await refusal(response) == (401, "M_UNAUTHORIZED")


async def test_a_request_without_any_header_is_refused(stage):
    assert await refusal(await stage.http.get(PATH)) == (401, "M_UNAUTHORIZED")


async def test_one_good_signature_of_several_will_do(stage):
    bad = stage.header("GET", PATH, key=signing_key(99))
    good = stage.header("GET", PATH)

    response = await stage.http.get(PATH, headers=[("Authorization", bad), ("Authorization", good)])

    assert response.status == 200


async def test_a_key_that_has_expired_signs_no_requests(net, stage):
    old = stage.peer.key
    assert (await stage.send("GET", PATH)).status == 200
    stage.peer.key = signing_key(50, "b")
    stage.peer.old_keys = {
        old.key_id: {"key": old.verify_key.to_base64(), "expired_ts": net.clock()}
    }
    net.clock.advance(25 * 3600)

    refused = await stage.send("GET", PATH, key=old)
    taken = await stage.send("GET", PATH)

    assert await refusal(refused) == (401, "M_UNAUTHORIZED")
    assert taken.status == 200


async def test_a_server_whose_keys_cannot_be_had_is_refused(stage):
    await stage.peer.close()

    assert await refusal(await stage.send("GET", PATH)) == (401, "M_UNAUTHORIZED")


@pytest.mark.parametrize(
    ("rules", "status"),
    [
        ({"deny": ["peer.test"]}, 403),
        ({"deny": ["*.TEST"]}, 403),
        ({"deny": ["peer.test:*"]}, 403),
        ({"allow": ["other.test"]}, 403),
        ({"allow": ["peer.*"]}, 200),
        ({"allow": ["*"], "deny": ["peer.*"]}, 403),
        ({"deny": ["other.test"]}, 200),
    ],
)
async def test_the_admins_lists_are_heeded(make_stage, rules, status):
    stage = await make_stage(**rules)

    response = await stage.send("GET", PATH)

    assert response.status == status
    if status == 403:
        assert (await response.json())["errcode"] == "M_FORBIDDEN"
        assert stage.peer.key_requests == 0


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("{", (400, "M_NOT_JSON")),
        ("[]", (400, "M_BAD_JSON")),
        ('"x"', (400, "M_BAD_JSON")),
        ("[" * 200 + "]" * 200, (400, "M_BAD_JSON")),
        ('{"a":"' + "x" * 20_000 + '"}', (413, "M_TOO_LARGE")),
        (b"\xff\xfe{}", (400, "M_NOT_JSON")),
        ('{"a":"\\ud800"}', (400, "M_NOT_JSON")),
    ],
)
async def test_bad_bodies_get_the_specs_errors(stage, raw, expected):
    assert await refusal(await stage.send("PUT", PATH, {}, raw=raw)) == expected


async def test_too_many_requests_of_one_server_get_429(make_stage):
    limits = RateLimits(rates={"federation": RateConfig(per_second=0.001, burst=3)})
    stage = await make_stage(rate_limits=limits)

    forged = [(await stage.send("GET", PATH, key=signing_key(99))).status for _ in range(5)]
    statuses = [(await stage.send("GET", PATH)).status for _ in range(5)]

    assert forged == [401] * 5, "and counts for nobody"
    assert statuses == [200, 200, 200, 429, 429]


async def test_a_signed_request_ends_the_back_off(stage):
    stage.node.health.failed(stage.peer.server_name, "down")
    assert stage.node.health.wait_seconds(stage.peer.server_name) > 0

    await stage.send("GET", PATH)

    assert stage.node.health.wait_seconds(stage.peer.server_name) == 0


async def test_a_forged_request_does_not_end_the_back_off(stage):
    stage.node.health.failed(stage.peer.server_name, "down")

    await stage.send("GET", PATH, key=signing_key(99))

    assert stage.node.health.wait_seconds(stage.peer.server_name) > 0


# ---------------------------------------------------------------- the header

SIMPLE = XMatrix("a.example:1", "ed25519:k", "S+/=", "b.example")


@pytest.mark.parametrize(
    "header",
    [
        'X-Matrix origin="a.example:1",destination="b.example",key="ed25519:k",sig="S+/="',
        "X-Matrix origin=a.example:1,destination=b.example,key=ed25519:k,sig=S+/=",
        'x-matrix   Origin="a.example:1" ,\tKEY="ed25519:k", sig="S+/=",destination=b.example',
        'X-Matrix origin="a.ex\\ample:1",destination="b.example",key="ed25519:k",sig="S+/="',
        'X-Matrix new="x, y=\\"z",origin="a.example:1",destination="b.example",'
        'key="ed25519:k",sig="S+/="',
        'X-Matrix origin="a.example:1",destination="b.example",key="ed25519:k",sig="S+/=",',
    ],
)
def test_the_header_is_read_in_all_its_spellings(header):
    assert parse_authorization(header) == SIMPLE


@pytest.mark.parametrize(
    "header",
    [
        'X-Matrix origin="a",origin="b",key="k",sig="s"',
        'X-Matrix origin="a" key="k" sig="s"',
        'X-Matrix origin="a,key="k",sig="s"',
        "X-Matrix =a",
        "Basic x",
        "",
    ],
)
def test_a_header_that_cannot_be_read_is_refused(header):
    with pytest.raises(BadHeader):
        parse_authorization(header)
