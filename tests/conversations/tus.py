"""A client of resumable uploads.  Spec: tus resumable upload protocol 1.0.0."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from yarl import URL

from tests.integration.single import Instance

from .conftest import PROBLEM_JSON, ApiUser
from .contract import contract

CONTENT = random.Random(3).randbytes(700_000)
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {"Content-Type": "application/offset+octet-stream"}


def metadata(**values: str) -> str:
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in values.items())


class Tus:
    """A client of the protocol, as plain as can be."""

    def __init__(self, user: ApiUser) -> None:
        self.user = user
        self.http = user.instance.client

    async def call(
        self,
        method: str,
        path: str,
        data: Any = None,
        *,
        status: int,
        headers: dict[str, str] | None = None,
    ) -> tuple[Any, Any]:
        """A request with the protocol's headers: the answer's JSON, if any, and its headers."""
        own = {"Authorization": f"Bearer {self.user.token}"} if self.user.token else {}
        async with self.http.request(
            method, path, data=data, headers={**TUS, **own, **(headers or {})}
        ) as response:
            text = await response.read()
            assert response.status == status, text
            if method != "OPTIONS" and status < 500:
                assert response.headers["Tus-Resumable"] == "1.0.0"
            if status >= 400 and method != "HEAD":
                assert response.content_type == PROBLEM_JSON
            answer = await response.json(content_type=None) if text else None
            if answer is not None:
                contract().check(method, URL(path).path, status, response.content_type, answer)
            return answer, response.headers

    async def create(
        self, length: int | None = len(CONTENT), data: bytes | None = None, **headers: str
    ) -> str:
        """Begin an upload; its path."""
        said = {"Upload-Length": str(length)} if length is not None else {}
        body = BYTES if data is not None else {}
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        _, answer = await self.call(
            "POST", "/api/v1/uploads", data, status=201, headers={**said, **body, **headers}
        )
        return URL(answer["Location"]).path

    async def patch(
        self, path: str, offset: int, data: Any, *, status: int = 204, **headers: str
    ) -> tuple[Any, Any]:
        """Send bytes."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.call(
            "PATCH",
            path,
            data,
            status=status,
            headers={**BYTES, "Upload-Offset": str(offset), **headers},
        )

    async def offset(self, path: str) -> int:
        """Where it is to go on."""
        _, headers = await self.call("HEAD", path, status=200)
        assert headers["Cache-Control"] == "no-store"
        return int(headers["Upload-Offset"])

    async def content(self, media_id: str) -> bytes:
        """A file."""
        async with self.http.get(
            f"/api/v1/media/{media_id}/content",
            headers={"Authorization": f"Bearer {self.user.token}"},
        ) as response:
            assert response.status == 200
            return await response.read()


def on_disk(instance: Instance) -> list[Path]:
    root = instance.wiring.config.data_dir / "media"
    return [path for path in root.rglob("*") if path.is_file()]


async def interrupted(content: bytes) -> AsyncIterator[bytes]:
    """A body whose sender disappears."""
    for start in range(0, len(content), 50_000):
        yield content[start : start + 50_000]
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.2)
    raise ConnectionError("gone")
