"""An instance, and people who use its Conversations API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.integration.single import Instance, running

from .contract import contract

PROBLEM_JSON = "application/problem+json"


class ApiUser:
    """Somebody's calls of the API, each with its expected status."""

    def __init__(self, instance: Instance, name: str, token: str) -> None:
        self.instance = instance
        self.name = name
        self.token = token
        self.address = f"{name}@{instance.wiring.config.server_name}"
        self.user_id = f"@{name}:{instance.wiring.config.server_name}"

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """One call; ``path`` follows ``/api/v1``.  Problems are checked for their form."""
        answer, _ = await self.call_with_headers(method, path, body, status=status, headers=headers)
        return answer

    async def call_with_headers(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> tuple[Any, Any]:
        """One call: the answer's JSON (None without any) and its headers."""
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with self.instance.client.request(
            method, f"/api/v1{path}", json=body, headers={**sent, **(headers or {})}
        ) as response:
            answer = await response.json(content_type=None) if await response.read() else None
            assert response.status == status, answer
            if answer is not None:
                contract().check(method, f"/api/v1{path}", status, response.content_type, answer)
            if status >= 400:
                assert response.content_type == PROBLEM_JSON
                assert answer["status"] == status
                assert {"type", "title", "detail", "code"} <= answer.keys()
            return answer, response.headers

    async def get(self, path: str, **options: Any) -> Any:
        """GET."""
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """POST."""
        return await self.call("POST", path, body, **options)

    async def matrix(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """The same account through the Client-Server API."""
        return await self.instance.call(method, path, body, token=self.token, status=status)


async def new_user(instance: Instance, name: str) -> ApiUser:
    """A new account."""
    return ApiUser(instance, name, await instance.register(name))


@pytest.fixture
async def instance(database: Database, tmp_path: Path) -> AsyncIterator[Instance]:
    """One instance."""
    async with running(database, tmp_path) as instance:
        yield instance


@pytest.fixture
async def alice(instance: Instance) -> ApiUser:
    """A user."""
    return await new_user(instance, "alice")


@pytest.fixture
async def bob(instance: Instance) -> ApiUser:
    """Another user."""
    return await new_user(instance, "bob")


@pytest.fixture
def nobody(instance: Instance) -> ApiUser:
    """A caller without a token."""
    return ApiUser(instance, "nobody", "")
