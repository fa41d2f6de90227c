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
from typing import Any

import aiohttp
import click
import yaml

NAMES = ("one", "two")
READY_SECONDS = 40.0
PATIENCE_SECONDS = 20.0
FORBIDDEN_WORD = "casino"


class DemoError(Exception):
    """A step did not go as it should."""


class Instance:
    """A running throw-away instance, as a client sees it."""

    def __init__(self, name: str, url: str, server_name: str, session: Any) -> None:
        self.name = name
        self.url = url
        self.server_name = server_name
        self._session: aiohttp.ClientSession = session
        self.token: str | None = None
        self.since: str | None = None

    async def call(
        self, method: str, path: str, body: Any = None, *, expect: int | None = 200
    ) -> dict[str, Any]:
        """One request of the Client-Server API."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = f"{self.url}/_matrix/client/v3{path}"
        async with self._session.request(method, url, json=body, headers=headers) as response:
            answer: dict[str, Any] = await response.json()
            if expect is not None and response.status != expect:
                raise DemoError(f"{method} {path} answered {response.status}: {answer}")
            return answer

    async def register(self, username: str) -> None:
        """Make an account and log in to it."""
        request = {
            "username": username,
            "password": "demo-only",
            "auth": {"type": "m.login.dummy"},
        }
        self.token = (await self.call("POST", "/register", request))["access_token"]

    async def sync_until(self, found: Any, what: str) -> Any:
        """Sync until ``found(answer)`` is something; that."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                since = f"&since={self.since}" if self.since else ""
                answer = await self.call("GET", f"/sync?timeout=5000{since}")
                self.since = answer["next_batch"]
                result = found(answer)
                if result:
                    return result
        raise DemoError(f"{self.name} never saw {what}")


@click.command()
@click.option("--keep", is_flag=True, help="Keep the instances' directory, with their logs.")
def demo(keep: bool) -> None:
    """Watch a message cross from one instance to another, within a minute.

    Starts two throw-away instances on this machine, takes alice@one and bob@two through consent, a
    message each way, and a refusal by content policy, and prints each step as it crosses.
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


def _say(text: str) -> None:
    click.echo(f"  {text}")


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
                }
            ]
        },
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
                Instance(name, f"http://127.0.0.1:{client}", f"{name}.test:{federation}", session)
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
        _say(f"{one.server_name} and {two.server_name} answer; each has its own PostgreSQL")
        await one.register("alice")
        await two.register("bob")
        _say(f"alice@{one.server_name} and bob@{two.server_name} have accounts")
        room_id = await _consent(one, two)
        await _join(one, two, room_id)
        await _talk(one, two, room_id)
        await _refusal(one, two, room_id)
    click.echo("Done. Both instances are stopped and their files removed.")


async def _consent(one: Instance, two: Instance) -> str:
    click.echo("Consent")
    bob = f"bob@{two.server_name}"
    room = {"preset": "private_chat", "name": "The demo", "invite": [bob]}
    refused = await one.call("POST", "/createRoom", room, expect=403)
    if refused.get("errcode") != "M_CONSENT_NOT_GIVEN":
        raise DemoError(f"expected to be asked for consent, not {refused}")
    _say(f"alice invites {bob}: M_CONSENT_NOT_GIVEN, for it would leave her server")
    form = {"answer": "granted"}
    async with one._session.post(refused["consent_uri"], data=form) as page:
        page.raise_for_status()
    _say("alice agrees, on the page that the error names")
    room_id: str = (await one.call("POST", "/createRoom", room))["room_id"]
    _say(f"her invite is signed, and crosses: room {room_id[:16]}...")
    return room_id


async def _join(one: Instance, two: Instance, room_id: str) -> None:
    def invited(answer: dict[str, Any]) -> bool:
        return room_id in answer.get("rooms", {}).get("invite", {})

    await two.sync_until(invited, "the invite")
    _say("bob's server has verified it, asked policy and bob's consent, and shows it to him")
    refused = await two.call("POST", f"/rooms/{room_id}/join", {}, expect=403)
    async with two._session.post(refused["consent_uri"], data={"answer": "granted"}) as page:
        page.raise_for_status()
    await two.call("POST", f"/rooms/{room_id}/join", {})
    _say("bob agrees too, and joins through alice's server")


async def _talk(one: Instance, two: Instance, room_id: str) -> None:
    click.echo("Messages")
    for sender, receiver, text in (
        (one, two, "Hello Bob, across the border!"),
        (two, one, "Hello Alice, well received."),
    ):
        sent = await _send(sender, room_id, text)

        def arrived(answer: dict[str, Any], event_id: str = sent["event_id"]) -> Any:
            timeline = answer.get("rooms", {}).get("join", {}).get(room_id, {}).get("timeline", {})
            return [e for e in timeline.get("events", []) if e["event_id"] == event_id]

        (event,) = await receiver.sync_until(arrived, "the message")
        _say(f"{event['sender']}: {event['content']['body']}  (seen on {receiver.name})")


async def _send(sender: Instance, room_id: str, text: str, *, expect: int = 200) -> dict[str, Any]:
    path = f"/rooms/{room_id}/send/m.room.message/{abs(hash(text))}"
    return await sender.call("PUT", path, {"msgtype": "m.text", "body": text}, expect=expect)


async def _refusal(one: Instance, two: Instance, room_id: str) -> None:
    click.echo("Content policy")
    text = f"Visit my {FORBIDDEN_WORD}!"
    refused = await _send(one, room_id, text, expect=403)
    _say(f"alice writes {text!r}: {refused['errcode']}, {refused['error']}")
    _say("nothing left her server; the audit trail has a row that names the rule")
