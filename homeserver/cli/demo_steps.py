"""What happens in the demo: alice on one instance, bob on another."""

from __future__ import annotations

import asyncio
import secrets
import sys
from pathlib import Path
from typing import Any

import aiohttp
import click

PATIENCE_SECONDS = 20.0
FORBIDDEN_WORD = "casino"
SUSPICIOUS_WORD = "lottery"
PASSWORD = "demo-only"
OURS = "/_comity/client/v1"


class DemoError(Exception):
    """A step did not go as it should."""


class Instance:
    """A running throw-away instance, as a client sees it."""

    def __init__(
        self, name: str, url: str, server_name: str, session: Any, config_file: Path
    ) -> None:
        self.name = name
        self.url = url
        self.server_name = server_name
        self.config_file = config_file
        self.session: aiohttp.ClientSession = session
        self.token: str | None = None
        self.since: str | None = None

    async def call(
        self, method: str, path: str, body: Any = None, *, expect: int | None = 200
    ) -> dict[str, Any]:
        """One request of the Client-Server API, or of Comity's own."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = self.url + (path if path.startswith("/_") else f"/_matrix/client/v3{path}")
        async with self.session.request(method, url, json=body, headers=headers) as response:
            answer: dict[str, Any] = await response.json()
            if expect is not None and response.status != expect:
                raise DemoError(f"{method} {path} answered {response.status}: {answer}")
            return answer

    async def register(self, username: str) -> None:
        """Make an account and log in to it."""
        request = {
            "username": username,
            "password": PASSWORD,
            "auth": {"type": "m.login.dummy"},
        }
        self.token = (await self.call("POST", "/register", request))["access_token"]

    async def command(self, *arguments: str) -> str:
        """What ``comity ...`` prints, run beside the server as its admin would."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from homeserver.cli import main; main()",
            *arguments,
            "--config",
            str(self.config_file),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = (await process.communicate())[0].decode()
        if process.returncode != 0:
            raise DemoError(f"comity {' '.join(arguments)}: {output}")
        return output

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


def say(text: str) -> None:
    """One step, as it crosses."""
    click.echo(f"  {text}")


async def tell(one: Instance, two: Instance) -> None:
    """All of it, in order."""
    await one.register("alice")
    await two.register("bob")
    say(f"alice@{one.server_name} and bob@{two.server_name} have accounts")
    room_id = await _consent(one, two)
    await _request(one, two, room_id)
    await _join(one, two, room_id)
    await _talk(one, two, room_id)
    await _refusal(one, two, room_id)
    await _quarantine(one, two, room_id)
    await _withdrawal(one, two, room_id)
    await _block(one, two)


async def _consent(one: Instance, two: Instance) -> str:
    click.echo("Consent")
    bob = f"bob@{two.server_name}"
    room = {"preset": "private_chat", "name": "The demo", "invite": [bob]}
    refused = await one.call("POST", "/createRoom", room, expect=403)
    if refused.get("errcode") != "M_CONSENT_NOT_GIVEN":
        raise DemoError(f"expected to be asked for consent, not {refused}")
    say(f"alice invites {bob}: M_CONSENT_NOT_GIVEN, for it would leave her server")
    form = {"answer": "granted"}
    async with one.session.post(refused["consent_uri"], data=form) as page:
        page.raise_for_status()
    say("alice agrees, on the page that the error names")
    room_id: str = (await one.call("POST", "/createRoom", room))["room_id"]
    say(f"her invite is signed, and crosses: room {room_id[:16]}...")
    return room_id


async def _request(one: Instance, two: Instance, room_id: str) -> None:
    click.echo("A message request")

    def invited(answer: dict[str, Any]) -> Any:
        return answer.get("rooms", {}).get("invite", {}).get(room_id)

    hidden = await two.sync_until(invited, "the invite")
    if "The demo" in str(hidden):
        raise DemoError("a stranger's room name was shown")
    (asked,) = (await two.call("GET", f"{OURS}/requests"))["requests"]
    say(f"bob is asked whether he knows {asked['sender']}; no picture, no name of the room yet")
    answer = {"answer": "accept", "sender": asked["sender"]}
    await two.call("POST", f"{OURS}/requests/answer", answer)
    shown = await two.sync_until(invited, "the invite in full")
    if "The demo" not in str(shown):
        raise DemoError("the accepted invite shows no name")
    say('he accepts: now it says "The demo"')


async def _join(one: Instance, two: Instance, room_id: str) -> None:
    refused = await two.call("POST", f"/rooms/{room_id}/join", {}, expect=403)
    async with two.session.post(refused["consent_uri"], data={"answer": "granted"}) as page:
        page.raise_for_status()
    await two.call("POST", f"/rooms/{room_id}/join", {})
    say("bob agrees to leave his server, too, and joins through alice's")


async def _talk(one: Instance, two: Instance, room_id: str) -> None:
    click.echo("Messages")
    for sender, receiver, text in (
        (one, two, "Hello Bob, across the border!"),
        (two, one, "Hello Alice, well received."),
    ):
        sent = await _send(sender, room_id, text)

        event = await _arrives(receiver, room_id, sent["event_id"])
        say(f"{event['sender']}: {event['content']['body']}  (seen on {receiver.name})")


async def _send(
    sender: Instance, room_id: str, text: str, *, expect: int | None = 200
) -> dict[str, Any]:
    path = f"/rooms/{room_id}/send/m.room.message/{abs(hash(text))}"
    return await sender.call("PUT", path, {"msgtype": "m.text", "body": text}, expect=expect)


async def _refusal(one: Instance, two: Instance, room_id: str) -> None:
    click.echo("Content policy")
    text = f"Visit my {FORBIDDEN_WORD}!"
    refused = await _send(one, room_id, text, expect=403)
    say(f"alice writes {text!r}: {refused['errcode']}, {refused['error']}")
    say("nothing left her server; the audit trail has a row that names the rule")


async def _arrives(receiver: Instance, room_id: str, event_id: str) -> dict[str, Any]:
    def arrived(answer: dict[str, Any]) -> Any:
        timeline = answer.get("rooms", {}).get("join", {}).get(room_id, {}).get("timeline", {})
        return [e for e in timeline.get("events", []) if e["event_id"] == event_id]

    found: list[dict[str, Any]] = await receiver.sync_until(arrived, "the message")
    return found[0]


async def _quarantine(one: Instance, two: Instance, room_id: str) -> None:
    text = f"About that {SUSPICIOUS_WORD} ticket ..."
    event_id = (await _send(one, room_id, text))["event_id"]
    queue = ""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while event_id not in queue:
            queue = await two.command("policy", "queue", "list")
    say(f"alice writes {text!r}: bob's server holds it; its moderators see it in the queue")
    (line,) = [line for line in queue.splitlines() if event_id in line]
    await two.command("policy", "queue", "release", line.split()[0])
    event = await _arrives(two, room_id, event_id)
    say(f"released by a moderator: {event['content']['body']}  (seen on two)")


async def _withdrawal(one: Instance, two: Instance, room_id: str) -> None:
    click.echo("Consent taken back")
    path = f"{OURS}/consent/message/@alice:{one.server_name}"
    await two.call("PUT", path, {"state": "revoked"})
    say("bob takes back what he granted; his server tells hers")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            refused = await _send(one, room_id, f"Bob? {secrets.token_hex(2)}", expect=None)
            if "errcode" in refused:
                break
            await asyncio.sleep(0.1)
    say(f"alice writes again, and is told before it leaves: {refused['error']}")


async def _block(one: Instance, two: Instance) -> None:
    click.echo("One command")
    await two.command("policy", "block", one.server_name, "--reason", "the demo is over")
    refused = await two.call("POST", f"/join/!x:{one.server_name}", {}, expect=None)
    say(f"comity policy block {one.server_name}: nothing comes from there any more")
    say(f"and who asks is told why: {refused['error']}")
