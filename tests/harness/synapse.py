"""A Synapse under test: installed from PyPI into an environment of its own, and only run."""

import base64
import fcntl
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from .network import ZONE, Identity, Network
from .server import Homeserver

REQUIREMENT = "matrix-synapse[postgres]"
LAUNCHER = Path(__file__).with_name("synapse_launcher.py")
NO_LIMIT = {"per_second": 100_000, "burst_count": 100_000}


def environment_directory() -> Path:
    """Where Synapse is installed: `COMITY_SYNAPSE_VENV`, or in the user's cache."""
    default = Path.home() / ".cache" / "comity" / "synapse-venv"
    return Path(os.environ.get("COMITY_SYNAPSE_VENV", default))


def ensure_installed() -> Path:
    """Install Synapse unless it is there, and return the Python that runs it."""
    venv = environment_directory()
    python = venv / "bin" / "python"
    venv.parent.mkdir(parents=True, exist_ok=True)
    with venv.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (venv / "bin" / "synapse_homeserver").exists():
            print(f"Installing {REQUIREMENT} into {venv} ...", flush=True)
            subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", REQUIREMENT], check=True)
    return python


class Synapse(Homeserver):
    """A Synapse on a PostgreSQL database."""

    kind = "synapse"
    start_seconds = 90.0

    def __init__(self, network: Network, identity: Identity, directory: Path, dsn: str) -> None:
        super().__init__(identity, directory)
        self._python = ensure_installed()
        self._network = network
        self.config_file = directory / "homeserver.yaml"
        signing_key = directory / "signing.key"
        seed = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        signing_key.write_text(f"ed25519 a_{secrets.token_hex(2)} {seed}\n")
        (directory / "log.yaml").write_text(yaml.safe_dump(_log_config()))
        config = _config(network, identity, directory, dsn)
        self.config_file.write_text(yaml.safe_dump(config))

    def command(self) -> Sequence[str | Path]:
        """Synapse through the launcher; `-P` keeps our own modules out of its way."""
        return [self._python, "-P", LAUNCHER, "--config-path", self.config_file]

    def environment(self) -> Mapping[str, str]:
        """The address that the launcher resolves the servers' names to.

        Identity servers are verified by the system's authorities: these are the network's.
        """
        return {
            "COMITY_TEST_ADDRESS": self._network.address,
            "COMITY_TEST_ZONE": ZONE,
            "SSL_CERT_FILE": str(self._network.authority_file),
        }


def _config(network: Network, identity: Identity, directory: Path, dsn: str) -> dict[str, Any]:
    return {
        "server_name": identity.server_name,
        "report_stats": False,
        "pid_file": str(directory / "pid"),
        "log_config": str(directory / "log.yaml"),
        "media_store_path": str(directory / "media"),
        "signing_key_path": str(directory / "signing.key"),
        "trusted_key_servers": [],
        "macaroon_secret_key": secrets.token_hex(16),
        "form_secret": secrets.token_hex(16),
        "tls_certificate_path": str(identity.certificate),
        "tls_private_key_path": str(identity.key),
        "federation_custom_ca_list": [str(network.authority_file)],
        "ip_range_blacklist": [],
        "federation_ip_range_blacklist": [],
        "listeners": _listeners(identity),
        "database": _database(dsn),
        "enable_registration": True,
        "enable_registration_without_verification": True,
        "bcrypt_rounds": 4,
        # Down for a minute is down for a minute here, not for Synapse's usual ten.
        "federation": {
            "destination_min_retry_interval": "1s",
            "destination_retry_multiplier": 1,
            "destination_max_retry_interval": "2s",
        },
        **_no_rate_limits(),
    }


def _listeners(identity: Identity) -> list[dict[str, Any]]:
    common = {"type": "http", "bind_addresses": [identity.address]}
    resources = [{"names": ["client", "federation"], "compress": False}]
    return [
        {**common, "port": identity.client_port, "tls": False, "resources": resources},
        {**common, "port": identity.federation_port, "tls": True, "resources": resources},
    ]


def _database(dsn: str) -> dict[str, Any]:
    parts = urlsplit(dsn)
    return {
        "name": "psycopg2",
        "args": {
            "user": parts.username,
            "host": parse_qs(parts.query)["host"][0],
            "dbname": parts.path.lstrip("/"),
            "cp_min": 5,
            "cp_max": 10,
        },
    }


def _no_rate_limits() -> dict[str, Any]:
    both = {"local": NO_LIMIT, "remote": NO_LIMIT}
    invites = {"per_room": NO_LIMIT, "per_user": NO_LIMIT, "per_issuer": NO_LIMIT}
    return {
        "rc_message": NO_LIMIT,
        "rc_registration": NO_LIMIT,
        "rc_login": {"address": NO_LIMIT, "account": NO_LIMIT, "failed_attempts": NO_LIMIT},
        "rc_joins": both,
        "rc_joins_per_room": NO_LIMIT,
        "rc_room_creation": NO_LIMIT,
        "rc_admin_redaction": NO_LIMIT,
        "rc_invites": invites,
        "rc_media_create": NO_LIMIT,
        "rc_federation": {
            "window_size": 1000,
            "sleep_limit": 100_000,
            "sleep_delay": 1,
            "reject_limit": 100_000,
            "concurrent": 100,
        },
        "remote_media_download_per_second": "1G",
        "remote_media_download_burst_count": "1G",
    }


def _log_config() -> dict[str, Any]:
    return {
        "version": 1,
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "plain"}},
        "root": {"level": os.environ.get("COMITY_SYNAPSE_LOG", "WARNING"), "handlers": ["out"]},
        "disable_existing_loggers": False,
    }
