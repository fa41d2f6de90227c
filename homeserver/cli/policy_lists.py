"""``comity policy lists``, ``import``, ``export``: what lists say, and what of it counts here."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from homeserver.cli import config_option
from homeserver.cli.admin_client import ask
from homeserver.cli.loading import load
from homeserver.config import Config

PATH = "/policy/lists"


@click.group(invoke_without_command=True)
@config_option
@click.pass_context
def lists(context: click.Context, config_path: Path | None) -> None:
    """The policy lists: without a command, all of them and what waits.

    NAME is the room as it stands in policy.lists, or the name of an import.
    """
    context.obj = config_path
    if context.invoked_subcommand is not None:
        return
    answer = ask(load(config_path), "GET", PATH)
    for found in answer["lists"]:
        click.echo(_line(found))
    if not answer["lists"]:
        click.echo("No list is followed or imported: see policy.lists in the configuration.")


@lists.command()
@click.argument("name")
@click.option(
    "--state",
    type=click.Choice(["in_effect", "draft", "declined"]),
    default="in_effect",
    help="Which entries: those in effect, those that wait, those declined.",
)
@config_option
@click.pass_context
def show(context: click.Context, name: str, state: str, config_path: Path | None) -> None:
    """Show the entries of the list NAME."""
    config = load(config_path or context.obj)
    start: int | None = 0
    while start is not None:
        path = f"{PATH}/entries?list={quote(name, safe='')}&state={state}&from={start}"
        answer = ask(config, "GET", path)
        for entry in answer["entries"]:
            reason = f": {entry['reason']}" if entry["reason"] else ""
            click.echo(f"{entry['action']} {entry['kind']} {entry['entity']}{reason}")
        start = answer.get("next")


@lists.command()
@click.argument("name")
@config_option
@click.pass_context
def preview(context: click.Context, name: str, config_path: Path | None) -> None:
    """Show what the draft of the list NAME would change for your users."""
    _show_preview(_preview(load(config_path or context.obj), name))


@lists.command()
@click.argument("name")
@click.option("--only", multiple=True, metavar="ENTITY", help="These entries alone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@click.pass_context
def apply(
    context: click.Context, name: str, only: tuple[str, ...], yes: bool, config_path: Path | None
) -> None:
    """Bring the draft of the list NAME into effect, after a look at what it changes."""
    answer = _decide(load(config_path or context.obj), "apply", name, only, yes)
    click.echo(f"applied: {answer['applied']}")


@lists.command()
@click.argument("name")
@click.option("--only", multiple=True, metavar="ENTITY", help="These entries alone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@click.pass_context
def discard(
    context: click.Context, name: str, only: tuple[str, ...], yes: bool, config_path: Path | None
) -> None:
    """Decline the draft of the list NAME: all stays as it is, until the list changes again."""
    answer = _decide(load(config_path or context.obj), "discard", name, only, yes)
    click.echo(f"discarded: {answer['discarded']}")


@lists.command()
@click.argument("name")
@config_option
@click.pass_context
def remove(context: click.Context, name: str, config_path: Path | None) -> None:
    """Forget the imported list NAME; what it blocked is no longer blocked."""
    ask(load(config_path or context.obj), "DELETE", f"{PATH}?list={quote(name, safe='')}")
    click.echo(f"removed: {name}")


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="What to call the list; by default the file's name.")
@click.option("--allow", is_flag=True, help="Its entries are those that no list may block.")
@click.option("--apply", "apply_now", is_flag=True, help="Bring it into effect at once.")
@config_option
def import_(
    file: Path, name: str | None, allow: bool, apply_now: bool, config_path: Path | None
) -> None:
    """Read a CSV FILE as a list; it is a draft until it is applied.

    Columns: kind (server, user, room), entity, recommendation, reason; or domain, severity,
    public_comment, as Mastodon exports them. The same name again replaces the list.
    """
    config, name = load(config_path), name or file.stem
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file} is not UTF-8") from error
    body = {"name": name, "csv": text, "allow": allow}
    answer = ask(config, "POST", f"{PATH}/import", body)
    _show_preview(answer)
    if apply_now:
        body = {"list": name, "draft_id": answer["draft_id"]}
        click.echo(f"applied: {ask(config, 'POST', f'{PATH}/apply', body)['applied']}")
    elif answer["added"] or answer["removed"]:
        click.echo(f"It is a draft: comity policy lists apply {name}")


@click.command()
@click.argument("name")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@config_option
def export(name: str, out: Path | None, config_path: Path | None) -> None:
    """Write what of the list NAME is in effect as CSV."""
    text = ask(load(config_path), "GET", f"{PATH}/export?list={quote(name, safe='')}")["csv"]
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, "utf-8")


def _preview(config: Config, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = ask(config, "GET", f"{PATH}/preview?list={quote(name, safe='')}")
    return answer


def _decide(
    config: Config, what: str, name: str, only: tuple[str, ...], yes: bool
) -> dict[str, Any]:
    seen = _preview(config, name)
    if not yes:
        _show_preview(seen)
        click.confirm(f"{what} this?", abort=True)
    body: dict[str, Any] = {"list": name, "draft_id": seen["draft_id"]}
    if only:
        body["entities"] = list(only)
    answer: dict[str, Any] = ask(config, "POST", f"{PATH}/{what}", body)
    return answer


def _show_preview(answer: dict[str, Any]) -> None:
    for entry in answer["entries"]:
        sign = "+" if entry["change"] == "add" else "-"
        line = f"{sign} {entry['action']} {entry['kind']} {entry['entity']}: {_touched(entry)}"
        click.echo(f"{line}; {entry['warning']}" if entry["warning"] else line)
    if answer["omitted"]:
        click.echo(f"and {answer['omitted']} more")
    click.echo(
        f"{answer['added']} to come, {answer['removed']} to go; in all {_touched(answer['total'])}"
    )


def _touched(counts: dict[str, int]) -> str:
    return (
        f"{counts['users']} of your users in {counts['rooms']} rooms, {counts['contacts']} "
        f"contacts, {counts['requests']} pending requests"
    )


def _line(found: dict[str, Any]) -> str:
    """A list on one line."""
    title = f" ({found['title']})" if found["title"] else ""
    draft = found["draft"]
    parts = [f"{found['in_effect']} in effect"]
    if draft["added"] or draft["removed"]:
        parts.append(f"draft: {draft['added']} to come, {draft['removed']} to go")
    if found["declined"]:
        parts.append(f"{found['declined']} declined")
    if found["problem"]:
        parts.append(f"PROBLEM: {found['problem']}")
    return f"{found['name']}{title}: {', '.join(parts)}"
