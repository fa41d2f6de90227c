"""``comity demo``: two throw-away instances on this machine, and one conversation between them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import click
import yaml

from homeserver.cli.demo_steps import (
    FORBIDDEN_WORD,
    SUSPICIOUS_WORD,
    DemoError,
    Instance,
    say,
    tell,
)

NAMES = ("one", "two")
READY_SECONDS = 40.0


@click.command()
@click.option("--keep", is_flag=True, help="Keep the instances' directory, with their logs.")
def demo(keep: bool) -> None:
    """Watch a message cross from one instance to another, within a minute.

    Starts two throw-away instances on this machine, takes alice@one and bob@two through consent, a
    message request, a message each way, a refusal and a quarantine by content policy, consent taken
    back, and a server blocked, and prints each step as it crosses.
    """
    directory = Path(tempfile.mkdtemp(prefix="comity-demo-"))
    directory.chmod(0o755)
    try:
        asyncio.run(_run(directory))
    except (DemoError, TimeoutError, OSError) as error:
        keep = True
        raise click.ClickException(f"{error}; the logs are in {directory}") from error
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _write_config(directory: Path, name: str, client: int, federation: int) -> Path:
    path = directory / name / "comity.yaml"
    path.parent.mkdir(mode=0o755)
    certificate = directory / name
    document = {
        "server_name": f"{name}.test:{federation}",
        "data_dir": ".",
        "listen": {
            "client": f"127.0.0.1:{client}",
            "federation": f"127.0.0.1:{federation}",
            "tls": {
                "certificate": str(certificate / "certificate.pem"),
                "key": str(certificate / "key.pem"),
            },
        },
        "registration": {"mode": "open"},
        "federation": {
            "allow_private_networks": True,
            "extra_ca_file": str(directory / "ca.pem"),
            "private_zones": {"*.test": "127.0.0.1"},
        },
        "policy": {
            "rules": [
                {
                    "name": "no-gambling",
                    "match": {"keywords": [FORBIDDEN_WORD]},
                    "action": "reject",
                    "message": "No gambling here.",
                },
                {
                    "name": "look-first",
                    "match": {"keywords": [SUSPICIOUS_WORD], "direction": "in"},
                    "action": "hold",
                },
            ]
        },
        "consent": {"defaults": {"message": "ask", "group": "ask"}},
    }
    path.write_text(yaml.safe_dump(document))
    return path


def _write_certificates(directory: Path) -> None:
    """A throw-away certificate authority, and a certificate for each instance."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    for name in NAMES:
        issued = authority.issue_cert(f"{name}.test")
        issued.private_key_pem.write_to_path(directory / name / "key.pem")
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        (directory / name / "certificate.pem").write_bytes(chain)


@contextlib.asynccontextmanager
async def _running(directory: Path) -> AsyncIterator[list[Instance]]:
    """Both instances, up and answering; stopped at the end."""
    ports = _free_ports(4)
    processes = []
    async with aiohttp.ClientSession() as session:
        instances = []
        for number, name in enumerate(NAMES):
            client, federation = ports[2 * number : 2 * number + 2]
            _write_config(directory, name, client, federation)
            instances.append(
                Instance(
                    name,
                    f"http://127.0.0.1:{client}",
                    f"{name}.test:{federation}",
                    session,
                    directory / name / "comity.yaml",
                )
            )
        _write_certificates(directory)
        try:
            for name in NAMES:
                processes.append(await _start(directory / name))
            await asyncio.gather(*(_answering(instance, session) for instance in instances))
            yield instances
        finally:
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
            await asyncio.gather(*(process.wait() for process in processes))


async def _start(directory: Path) -> asyncio.subprocess.Process:
    with (directory / "log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from homeserver.cli import main; main()",
            "up",
            "--config",
            str(directory / "comity.yaml"),
            stdout=log,
            stderr=log,
            env={k: v for k, v in os.environ.items() if not k.startswith("COMITY_")},
        )


async def _answering(instance: Instance, session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{instance.url}/ready") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.1)


async def _run(directory: Path) -> None:
    click.echo("Starting two instances ...")
    async with _running(directory) as (one, two):
        say(f"{one.server_name} and {two.server_name} answer; each has its own PostgreSQL")
        await tell(one, two)
    click.echo("Done. Both instances are stopped and their files removed.")
