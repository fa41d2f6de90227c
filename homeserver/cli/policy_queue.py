"""``comity policy queue``, ``stripped`` and ``serve``: what moderators decide."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask
from homeserver.cli.loading import load
from homeserver.protocol.media_uris import parse_media_uri

QUEUE = "/moderation/queue"
STRIPPED = "/moderation/stripped_media"
KINDS = ("held", "flagged", "report", "request_abuse")
STATES = ("open", "released", "dropped", "resolved")
PAGE = 500


@click.group()
def queue() -> None:
    """What was held, flagged or reported, and waits for a moderator."""


@queue.command("list")
@click.option("--kind", type=click.Choice(KINDS), help="Only these.")
@click.option("--state", type=click.Choice((*STATES, "any")), default="open", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@config_option
def list_items(kind: str | None, state: str, limit: int, config_path: Path | None) -> None:
    """Show the queue, the oldest first."""
    config, after, left = load(config_path), 0, limit
    while left > 0:
        query: dict[str, Any] = {"from": after, "limit": min(left, PAGE)}
        query |= {"kind": kind} if kind is not None else {}
        query |= {"state": state} if state != "any" else {}
        answer = ask(config, "GET", f"{QUEUE}?{urlencode(query)}")
        for item in answer["items"]:
            click.echo(_line(item))
        left -= len(answer["items"])
        if "next" not in answer:
            break
        after = answer["next"]
    if left == limit:
        click.echo("There is nothing in the queue.")


@queue.command()
@click.argument("item", type=click.IntRange(min=1))
@config_option
def show(item: int, config_path: Path | None) -> None:
    """Show ITEM and the event that it is about."""
    answer = ask(load(config_path), "GET", f"{QUEUE}/{item}")
    event = answer.pop("event", None)
    click.echo(_line(answer))
    if event is not None:
        # escaped as JSON: a message may bear what terminals obey
        click.echo(json.dumps(event, indent=2))


def _decision(action: str, text: str) -> Callable[..., None]:
    @queue.command(action, help=text)
    @click.argument("items", type=click.IntRange(min=1), nargs=-1)
    @click.option("--rule", help="All that are open for this rule.")
    @click.option("--sender", help="All that are open for this user's events.")
    @click.option("--note", help="Why; kept in the audit trail.")
    @config_option
    def decide(
        items: tuple[int, ...],
        rule: str | None,
        sender: str | None,
        note: str | None,
        config_path: Path | None,
    ) -> None:
        if bool(items) == (rule is not None or sender is not None):
            raise click.UsageError("Name either items, or a --rule or --sender.")
        config = load(config_path)
        if items:
            for item in items:
                body = {"note": note}
                answer = ask(config, "POST", f"{QUEUE}/{item}/{action}", body)
                click.echo(_line(answer))
            return
        _decide_many(config, action, {"rule": rule, "sender": sender, "note": note})

    return decide


def _decide_many(config: Any, action: str, body: dict[str, Any]) -> None:
    count, after = 0, 0
    while after is not None:
        answer = ask(config, "POST", f"{QUEUE}/{action}", {**body, "from": after})
        count += len(answer["items"])
        for item, reason in answer["failed"].items():
            click.echo(f"{item}: {_plain(reason)}", err=True)
        after = answer.get("next")
    click.echo(f"{action}: {count} items")


release = _decision("release", "Show held messages to everybody in their rooms.")
drop = _decision("drop", "Never show held messages to anybody.")
resolve = _decision("resolve", "Close flags and reports that were dealt with.")


@click.command()
@config_option
def stripped(config_path: Path | None) -> None:
    """Show the files that content policy keeps from being served."""
    config = load(config_path)
    query: dict[str, Any] = {"limit": PAGE}
    while True:
        answer = ask(config, "GET", f"{STRIPPED}?{urlencode(query)}")
        for media in answer["media"]:
            uri = f"mxc://{media['origin']}/{media['media_id']}"
            click.echo(f"{_plain(uri)} since {_time(media['created_at'])} by {media['rule']}")
        if "next" not in answer:
            return
        query["from"] = answer["next"]


@click.command()
@click.argument("uri")
@config_option
def serve(uri: str, config_path: Path | None) -> None:
    """Serve the file URI (mxc://server/id) although a rule stripped it."""
    media = parse_media_uri(uri)
    if media is None:
        raise click.UsageError("Write it as mxc://server/id.")
    path = f"{STRIPPED}/{quote(media.origin, safe='')}/{quote(media.media_id, safe='')}"
    ask(load(config_path), "DELETE", path)
    click.echo(f"served again: {uri}")


def _line(item: dict[str, Any]) -> str:
    """An item on one line."""
    parts = [str(item["item_id"]), _time(item["created_at"]), item["kind"]]
    parts += [item[key] for key in ("rule", "sender", "room_id", "event_id") if key in item]
    if "reporter" in item:
        parts.append(f"reported by {item['reporter']}")
    if item["times"] > 1:
        parts.append(f"{item['times']} times")
    if item.get("note"):
        parts.append(f'"{item["note"]}"')
    if item["state"] != "open":
        parts.append(f"{item['state']} by {item['resolved_by']}")
    if item.get("resolution"):
        parts.append(f'"{item["resolution"]}"')
    return _plain("  ".join(parts))


def _plain(text: str) -> str:
    """Others' text for a terminal: nothing that it would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def _time(at_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at_ms / 1000))
