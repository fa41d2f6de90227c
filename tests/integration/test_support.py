"""What is found under the server's name beside where clients connect to."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from homeserver.config import ConfigError, load_config
from homeserver.storage.database import Database
from tests.integration.single import running

URL = "/.well-known/matrix/support"


async def test_whom_to_turn_to_is_told(database: Database, tmp_path: Path) -> None:
    contacts = [
        {"role": "m.role.admin", "matrix_id": "@root:one.test", "email_address": "root@one.test"},
        {"role": "m.role.security", "matrix_id": "@greeter:two.test"},
    ]
    support = {
        "contacts": contacts,
        "page": "https://one.test/help",
        "identity_server": "https://id.test",
    }
    async with running(database, tmp_path, support=support) as one:
        async with one.client.get(URL) as response:
            told = await response.json()
        async with one.client.get("/.well-known/matrix/client") as response:
            for_clients = await response.json()

    assert told == {"contacts": contacts, "support_page": "https://one.test/help"}
    assert for_clients["m.identity_server"] == {"base_url": "https://id.test"}


async def test_nobody_to_turn_to_is_told_too(database: Database, tmp_path: Path) -> None:
    async with running(database, tmp_path) as one, one.client.get(URL) as response:
        assert (response.status, (await response.json())["errcode"]) == (404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    "contact",
    [
        {"role": "m.role.admin"},
        {"role": "m.role.king", "matrix_id": "@a:b"},
        {"role": "m.role.admin", "matrix_id": "alice"},
        {"matrix_id": "@a:b"},
        {"role": "m.role.admin", "email_address": "a b"},
    ],
)
def test_contacts_are_checked_at_the_start(tmp_path: Path, contact: dict[str, str]) -> None:
    path = tmp_path / "comity.yaml"
    path.write_text(yaml.safe_dump({"server_name": "a.test", "support": {"contacts": [contact]}}))

    with pytest.raises(ConfigError, match="support"):
        load_config(path, {})
