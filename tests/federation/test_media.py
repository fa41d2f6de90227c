"""Media between instances: what one serves the other fetches, and what may go wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from federation.errors import PeerError
from federation.media import RemoteMediaClient
from federation.routes import base, media
from homeserver.app_keys import MEDIA
from homeserver.errors import MatrixError
from homeserver.services.media import MediaService
from homeserver.services.media_files import MediaFiles
from homeserver.services.thumbnails import Thumbnails
from homeserver.storage.database import Database
from homeserver.web import error_middleware
from tests.services.deleting import strays
from tests.services.doubles import Clock

LIMIT = 500_000
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Client:
    """Asks the one other instance there is, over plain HTTP."""

    def __init__(self, http: Any) -> None:
        self._http = http

    @asynccontextmanager
    async def stream(self, destination: str, path: str, **more: Any) -> AsyncIterator[Any]:
        """GET, with errors raised."""
        async with self._http.get(path, params=more["query"]) as response:
            if response.status != 200:
                body = await response.json()
                raise PeerError(destination, response.status, body["errcode"], body["error"])
            yield response


@dataclass
class Stage:
    """Two instances: ``one.example`` has the media that ``two.example`` wants."""

    one: MediaService
    two: MediaService
    answers: dict[str, Answer]

    async def upload(self, content: bytes, content_type: str, name: str | None) -> str:
        """Somebody uploads a file to ``one.example``."""

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        return await self.one.upload("@alice:one.example", chunks(), content_type, name)

    async def refusal(self, media_id: str = "x") -> tuple[str, int]:
        """Why ``two.example`` cannot have a file."""
        with pytest.raises(MatrixError) as caught:
            await self.two.find("one.example", media_id)
        return caught.value.errcode, caught.value.status


@pytest.fixture
async def stage(postgres, tmp_path, monkeypatch):
    async def trust(request: web.Request) -> None:
        return None

    monkeypatch.setattr(base, "authenticate_request", trust)
    monkeypatch.setattr(base, "take_turn", lambda _: nullcontext())
    databases = [await Database.connect(await postgres.create_database()) for _ in range(2)]
    answers: dict[str, Answer] = {}

    def service(name: str, database: Database, remote: Any) -> MediaService:
        files = MediaFiles(tmp_path / name)
        return MediaService(
            server_name=name,
            database=database,
            files=files,
            strays=strays(database, files, Clock()),
            thumbnails=Thumbnails(files),
            remote=remote,
            max_upload_bytes=LIMIT,
            unauthenticated_downloads=False,
            clock_ms=Clock(),
        )

    @web.middleware
    async def answer_otherwise(request: web.Request, handler: Answer) -> web.StreamResponse:
        for prefix, answer in answers.items():
            if request.path.startswith(prefix):
                return await answer(request)
        return await handler(request)

    app = web.Application(middlewares=[answer_otherwise, error_middleware])
    app.add_routes(media.routes.definitions)
    one = app[MEDIA] = service("one.example", databases[0], None)
    async with TestClient(TestServer(app)) as http:
        connections: Any = SimpleNamespace(session=http)
        client: Any = Client(http)
        two = service("two.example", databases[1], RemoteMediaClient(client, connections))
        await one.start()
        await two.start()
        yield Stage(one, two, answers)
        await two.close()
    await one.close()
    for database in databases:
        await database.close()


def error(status: int, errcode: str) -> Answer:
    """An answer that is an error."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"errcode": errcode, "error": "No"}, status=status)

    return answer


def parts(*bodies: tuple[dict[str, str], bytes]) -> Answer:
    """An answer of several parts."""

    async def answer(request: web.Request) -> web.Response:
        body = b""
        for headers, content in bodies:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            body += b"--b\r\n" + lines.encode() + b"\r\n" + content + b"\r\n"
        headers = {"Content-Type": "multipart/mixed; boundary=b"}
        return web.Response(body=body + b"--b--\r\n", headers=headers)

    return answer


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("content", [b"", b"meow", b"\r\n--" * 50_000, bytes(range(256)) * 1500])
async def test_a_file_arrives_as_it_was_uploaded(stage, content):
    media_id = await stage.upload(content, "image/png", "Kätzchen.png")

    found = await stage.two.find("one.example", media_id)

    assert found.blob.read() == content
    assert (found.row.content_type, found.row.upload_name) == ("image/png", "Kätzchen.png")
    assert found.row.uploader is None


async def test_an_instance_from_before_authenticated_media_is_asked_the_old_way(stage):
    async def legacy(request: web.Request) -> web.Response:
        assert request.query["allow_remote"] == "false"
        headers = {"Content-Disposition": 'inline; filename="old.txt"'}
        return web.Response(body=b"old", content_type="text/plain", headers=headers)

    stage.answers["/_matrix/federation"] = error(404, "M_UNRECOGNIZED")
    stage.answers["/_matrix/media/v3/download/one.example/x"] = legacy

    found = await stage.two.find("one.example", "x")

    assert found.blob.read() == b"old"
    assert found.row.upload_name == "old.txt"


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (error(404, "M_NOT_FOUND"), ("M_NOT_FOUND", 404)),
        (error(504, "M_NOT_YET_UPLOADED"), ("M_NOT_YET_UPLOADED", 504)),
        (error(502, "M_TOO_LARGE"), ("M_TOO_LARGE", 502)),
        (error(401, "M_UNAUTHORIZED"), ("M_UNKNOWN", 502)),
        (error(500, "M_UNKNOWN"), ("M_UNKNOWN", 502)),
        (parts((JSON, b"{}")), ("M_UNKNOWN", 502)),
        (parts(), ("M_UNKNOWN", 502)),
        (parts((JSON, b"x" * 100_000), (JSON, b"")), ("M_UNKNOWN", 502)),
        (parts((JSON, b"{}"), (JSON, b"x" * (LIMIT + 1))), ("M_TOO_LARGE", 502)),
        (parts((JSON, b"{}"), ({"Location": "http://127.0.0.1/"}, b"")), ("M_UNKNOWN", 502)),
        (parts((JSON, b"{}"), ({"Location": "file:///etc/passwd"}, b"")), ("M_UNKNOWN", 502)),
        (parts((JSON, b"{}"), ({"Location": "https://[]@"}, b"")), ("M_UNKNOWN", 502)),
        (parts((JSON, b"{}"), ({"Content-Type": "multipart/x"}, b"")), ("M_UNKNOWN", 502)),
    ],
)
async def test_whatever_the_other_side_answers_the_reader_gets_an_error(stage, answer, refusal):
    stage.answers["/_matrix/federation"] = answer

    assert await stage.refusal() == refusal
    assert [path for path in stage.two._files.root.rglob("*") if path.is_file()] == []


async def test_an_answer_that_breaks_off_is_an_error_and_can_be_asked_for_again(stage):
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "multipart/mixed; boundary=b"})
        response.content_length = 10_000
        await response.prepare(request)
        await response.write(b"--b\r\n\r\n{}\r\n--b\r\n\r\nxxx")
        assert request.transport is not None
        request.transport.close()
        return response

    stage.answers["/_matrix/federation"] = broken
    media_id = await stage.upload(b"whole", "text/plain", None)

    first = await stage.refusal(media_id)
    stage.answers.clear()
    found = await stage.two.find("one.example", media_id)

    assert first == ("M_UNKNOWN", 502)
    assert found.blob.read() == b"whole"
