"""A Comity under test."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from .network import ZONE, Identity, Network
from .server import Homeserver


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
