"""What carries MatrixRTC calls.  Spec: MSC4143."""

from __future__ import annotations

from pathlib import Path

import pytest

from homeserver.storage.database import Database
from tests.integration.single import running

LIVEKIT = {"type": "livekit", "livekit_service_url": "https://rtc.one.test"}
FOCI = "org.matrix.msc4143.rtc_foci"


@pytest.mark.parametrize("version", ["v1", "unstable/org.matrix.msc4143"])
async def test_transports_are_told_to_users(
    database: Database, tmp_path: Path, version: str
) -> None:
    async with running(database, tmp_path, voip={"rtc_transports": [LIVEKIT]}) as one:
        alice = await one.register("alice")
        path = f"/_matrix/client/{version}/rtc/transports"

        assert await one.call("GET", path, token=alice) == {"rtc_transports": [LIVEKIT]}
        await one.call("GET", path, status=401)
        found = await one.call("GET", "/.well-known/matrix/client")
        assert found[FOCI] == [LIVEKIT]


async def test_without_transports_the_endpoint_is_as_if_unknown(
    database: Database, tmp_path: Path
) -> None:
    async with running(database, tmp_path) as one:
        alice = await one.register("alice")

        path = "/_matrix/client/v1/rtc/transports"
        refused = await one.call("GET", path, token=alice, status=404)

        assert refused["errcode"] == "M_UNRECOGNIZED"
        assert FOCI not in await one.call("GET", "/.well-known/matrix/client")
