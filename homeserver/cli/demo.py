"""``comity demo``: two throw-away instances on this machine, and one conversation between them.

With ``--stay`` they have nothing to tell, and stay to be used.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import click
import yaml
from msgspec import Struct

from homeserver.cli.demo_steps import (
    FORBIDDEN_WORD,
    PASSWORD,
    SUSPICIOUS_WORD,
    DemoError,
    Instance,
    say,
    tell,
)

NAMES = ("one", "two")
PEOPLE = {"one": "alice", "two": "bob"}
READY_SECONDS = 40.0
STAY_PORT = 8101
FEDERATION_PORT = 8448  # a server name without a port means this one
CONSENT = {"defaults": {"message": "ask", "group": "ask"}}
POLICY = {
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
}


class Place(Struct, frozen=True):
    """Where an instance listens, and what it is called."""

    name: str
    server_name: str
    client: str
    federation: str

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://{self.client}"


@click.command()
@click.option("--keep", is_flag=True, help="Keep the instances' directory, with their logs.")
@click.option("--stay", is_flag=True, help="Tell nothing: keep both running, with an account each.")
@click.option(
    "--port",
    type=click.IntRange(1024, 65534),
    default=STAY_PORT,
    show_default=True,
    help="With --stay: where clients reach the first instance; the second has the next one.",
)
def demo(keep: bool, stay: bool, port: int) -> None:
    """Watch a message cross from one instance to another, within a minute.

    Starts two throw-away instances on this machine, takes alice@one and bob@two through consent, a
    message request, a message each way, a refusal and a quarantine by content policy, consent taken
    back, and a server blocked, and prints each step as it crosses.

    With --stay it starts one.test and two.test with the accounts alice and bob, prints where they
    are, and keeps them running until Ctrl-C.
    """
    directory = Path(tempfile.mkdtemp(prefix="comity-demo-"))
    directory.chmod(0o755)
    try:
        asyncio.run(_stay(directory, port) if stay else _run(directory))
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


def _places_for_the_story() -> list[Place]:
    """Wherever ports are free."""
    ports = _free_ports(2 * len(NAMES))
    return [
        Place(name, f"{name}.test:{federation}", f"127.0.0.1:{client}", f"127.0.0.1:{federation}")
        for name, client, federation in zip(NAMES, ports[::2], ports[1::2], strict=True)
    ]


def _places_to_stay(port: int) -> list[Place]:
    """At fixed ports, and by names without one: each has a loopback address of its own."""
    network = f"127.{port >> 8}.{port & 255}"
    return [
        Place(
            name,
            f"{name}.test",
            f"127.0.0.1:{port + number}",
            f"{network}.{number + 1}:{FEDERATION_PORT}",
        )
        for number, name in enumerate(NAMES)
    ]


def _write_config(
    directory: Path, place: Place, places: Sequence[Place], settings: dict[str, Any]
) -> None:
    path = directory / place.name / "comity.yaml"
    path.parent.mkdir(mode=0o755)
    zones = {f"{each.name}.test": each.federation.partition(":")[0] for each in places}
    document = {
        "server_name": place.server_name,
        "public_base_url": place.url,
        "data_dir": ".",
        "listen": {
            "client": place.client,
            "federation": place.federation,
            "tls": {
                "certificate": str(path.with_name("certificate.pem")),
                "key": str(path.with_name("key.pem")),
            },
        },
        "registration": {"mode": "open"},
        "federation": {
            "allow_private_networks": True,
            "extra_ca_file": str(directory / "ca.pem"),
            "private_zones": zones,
        },
        "consent": CONSENT,
        **settings,
    }
    path.write_text(yaml.safe_dump(document))


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
async def _running(
    directory: Path, places: Sequence[Place], **settings: Any
) -> AsyncIterator[list[Instance]]:
    """The instances, up and answering; stopped at the end."""
    processes: list[asyncio.subprocess.Process] = []
    async with aiohttp.ClientSession() as session:
        instances = []
        for place in places:
            _write_config(directory, place, places, settings)
            config = directory / place.name / "comity.yaml"
            instances.append(Instance(place.name, place.url, place.server_name, session, config))
        _write_certificates(directory)
        try:
            for place in places:
                processes.append(await _start(directory / place.name))
            pairs = zip(instances, processes, strict=True)
            await asyncio.gather(*(_answering(*pair, session) for pair in pairs))
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


async def _answering(
    instance: Instance, process: asyncio.subprocess.Process, session: aiohttp.ClientSession
) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while True:
            if process.returncode is not None:  # whatever answers there is not ours
                raise DemoError(f"{instance.server_name} did not start")
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{instance.url}/ready") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.1)


async def _run(directory: Path) -> None:
    click.echo("Starting two instances ...")
    async with _running(directory, _places_for_the_story(), policy=POLICY) as (one, two):
        say(f"{one.server_name} and {two.server_name} answer; each has its own PostgreSQL")
        await tell(one, two)
    click.echo("Done. Both instances are stopped and their files removed.")


async def _stay(directory: Path, port: int) -> None:
    click.echo("Starting two instances ...")
    async with _running(directory, _places_to_stay(port)) as instances:
        for instance in instances:
            person = PEOPLE[instance.name]
            await instance.register(person)
            say(f"{instance.url}  {person}@{instance.server_name}, password {PASSWORD}")
        say(f"{directory}  configuration and logs, until the end")
        click.echo("Ready. Ctrl-C ends both and removes their files.")
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        await ended.wait()
