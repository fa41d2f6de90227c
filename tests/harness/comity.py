"""A Comity under test."""

import hashlib
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import yaml

from .network import ZONE, Identity, Network
from .server import Homeserver

INSERT_ACCOUNTS = """
WITH new AS (SELECT * FROM unnest($1::text[], $2::bytea[]) AS new (user_id, token_hash)),
accounts AS (INSERT INTO accounts (user_id, created_at) SELECT user_id, 0 FROM new),
devices AS (INSERT INTO devices (user_id, device_id, created_at)
    SELECT user_id, 'DEVICE', 0 FROM new)
INSERT INTO access_tokens (token_hash, user_id, device_id, created_at)
SELECT token_hash, user_id, 'DEVICE', 0 FROM new
"""


def executable() -> Path:
    """The `comity` command: `COMITY_EXECUTABLE`, or the one beside this Python."""
    return Path(os.environ.get("COMITY_EXECUTABLE", Path(sys.executable).parent / "comity"))


class Comity(Homeserver):
    """A Comity on a PostgreSQL database, or with `dsn=None` on its embedded one."""

    kind = "comity"
    start_seconds = 40.0

    def __init__(
        self,
        network: Network,
        identity: Identity,
        directory: Path,
        dsn: str | None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(identity, directory)
        self.config_file = directory / "config.yaml"
        config = _merged(_config(network, identity, directory, dsn), overrides or {})
        self.config_file.write_text(yaml.safe_dump(config))

    def command(self) -> Sequence[str | Path]:
        """`comity up`."""
        return [executable(), "up", "--config", self.config_file]

    async def add_accounts(self, names: Sequence[str]) -> list[str]:
        """Accounts with a device each, put into the database; their access tokens.

        Thousands of them: to hash so many passwords would take minutes.  They have none.
        """
        tokens = [secrets.token_urlsafe(24) for _ in names]
        dsn = yaml.safe_load(self.config_file.read_text())["database"]["dsn"]
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(
                INSERT_ACCOUNTS,
                [f"@{name}:{self.server_name}" for name in names],
                [hashlib.sha256(token.encode()).digest() for token in tokens],
            )
        finally:
            await connection.close()
        return tokens


def _config(
    network: Network, identity: Identity, directory: Path, dsn: str | None
) -> dict[str, Any]:
    federation: dict[str, Any] = {
        "allow_private_networks": True,
        "extra_ca_file": str(network.authority_file),
    }
    if network.has_names:
        federation["private_zones"] = {f"*.{ZONE}": network.address}
    config: dict[str, Any] = {
        "server_name": identity.server_name,
        "well_known_server": identity.delegation,
        "data_dir": str(directory / "data"),
        "signing_key_file": str(directory / "signing.key"),
        "listen": {
            "client": f"{identity.address}:{identity.client_port}",
            "federation": f"{identity.address}:{identity.federation_port}",
            "tls": {"certificate": str(identity.certificate), "key": str(identity.key)},
        },
        "registration": {"mode": "open"},
        "rate_limits": {"enabled": False},
        "federation": federation,
        "consent": {"cross_instance": "implied"},
        "third_party_invites": {"identity_servers": [f"*.identity.{ZONE}:*", "localhost:*"]},
        "log": {"format": "json"},
    }
    if dsn is not None:
        config["database"] = {"dsn": dsn}
    return config


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], value) if nested else value
    return result
