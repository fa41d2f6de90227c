"""``comity policy test``: what rules would do, before they do it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
import yaml

from homeserver.cli import config_option, default_config_path
from homeserver.cli.loading import load, with_database
from homeserver.cli.tables import table
from homeserver.config import Config, ConfigError

if TYPE_CHECKING:
    from homeserver.services.policy.dry_run import DryRun
    from homeserver.services.policy.rules import Rule
    from homeserver.services.policy.subject import Subject
    from homeserver.storage.database import Database

MS_PER_DAY = 86_400_000
LONGEST_LINE = 1 << 20


@click.command()
@click.option(
    "--rules",
    "rules_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML with a list of rules, or with policy.rules; by default the configuration's own.",
)
@click.option(
    "--events",
    "events_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Events to try them on: one JSON object a line.",
)
@click.option(
    "--days",
    type=click.FloatRange(min=0, min_open=True, max=36_500),
    help="Try them on the events of the last so many days in the database.",
)
@config_option
def test(
    rules_path: Path | None,
    events_path: Path | None,
    days: float | None,
    config_path: Path | None,
) -> None:
    """Show what rules would do to events, without doing it.

    For each rule: how many events it matches, and the IDs of some. Rules on trial (mode: observe)
    are shown too. Times and rates are the events' own; rooms are as they are now.
    """
    if (events_path is None) == (days is None):
        raise click.UsageError("Name either --events FILE or --days N.")
    if events_path is not None:
        _on_file(_config_for_file(config_path, rules_path), rules_path, events_path)
    else:
        assert days is not None
        _on_database(load(config_path), rules_path, days)


# ---------------------------------------------------------------- rules


def _config_for_file(config_path: Path | None, rules_path: Path | None) -> Config | None:
    """A file of rules and one of events need no configuration."""
    if config_path is None and rules_path is not None and not default_config_path().exists():
        return None
    return load(config_path)


def _rule_documents(config: Config | None, rules_path: Path | None) -> tuple[Any, Path]:
    """The rules as they are written, and the directory that files are named from."""
    if rules_path is None:
        assert config is not None
        return config.policy.rules, config.base
    try:
        document = yaml.safe_load(rules_path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{rules_path}: not YAML: {error}") from None
    for key in ("policy", "rules"):
        if isinstance(document, dict) and key in document:
            document = document[key]
    return document, rules_path.resolve().parent


def _compile(documents: Any, base: Path) -> list[Rule]:
    from homeserver.services.policy.rules import compile_rules

    try:
        return compile_rules(documents, base)
    except ConfigError as error:
        problems = "\n  ".join(error.problems)
        raise click.ClickException(f"The rules cannot be used:\n  {problems}") from None


# ---------------------------------------------------------------- a file of events


def _on_file(config: Config | None, rules_path: Path | None, events_path: Path) -> None:
    from homeserver.services.policy.dry_run import DryRun
    from homeserver.services.policy.ports import Ports

    run = DryRun(_compile(*_rule_documents(config, rules_path)), ports=Ports())
    server_name = config.server_name if config is not None else None

    async def judge() -> None:
        for subject in _subjects(events_path, server_name):
            await run.judge(subject)

    asyncio.run(judge())
    _report(run)


def _subjects(path: Path, server_name: str | None) -> Iterator[Subject]:
    """The events of a file; those of our own users count as sent to other servers."""
    from homeserver.services.policy.dry_run import past_event

    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            if not line.strip():
                continue
            try:
                event = json.loads(line)
                event_id = event.get("event_id")
                subject = past_event(event, str(event_id) if event_id else None, None, "in")
                if not isinstance(subject.content, dict) or not all(
                    isinstance(text, str) for text in (subject.type, subject.room_id)
                ):
                    raise TypeError
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                raise click.ClickException(
                    f"{path}:{number}: not an event: it needs type, sender, room_id and content"
                ) from None
            if subject.origin == server_name:
                subject.direction = "out"
            yield subject


# ---------------------------------------------------------------- the database


def _on_database(config: Config, rules_path: Path | None, days: float) -> None:
    documents, base = _rule_documents(config, rules_path)
    run_rules = _compile(documents, base)
    since = time.time_ns() // 1_000_000 - int(days * MS_PER_DAY)

    async def work(database: Database) -> DryRun:
        from homeserver.app import load_signing_keys
        from homeserver.services.policy.dry_run import DryRun, stored_events
        from homeserver.wiring import Wiring

        # The parts that look facts up are those of the rules under test.
        policy = dataclasses.replace(config.policy, rules=[])
        wiring = Wiring(
            msgspec.structs.replace(config, policy=policy), database, load_signing_keys(config)
        )
        try:
            wiring.policy.replace_rules(_rule_set(run_rules))
            run = DryRun(run_rules, ports=wiring.policy.ports)
            events = stored_events(database, wiring.live_rooms, config.server_name, since)
            await _judge_all(run, events)
            return run
        finally:
            await wiring.transport.connections.close()
            await wiring.transport.resolver.close()
            wiring.passwords.close()

    _report(with_database(config, work))


def _rule_set(rules: list[Rule]) -> Any:
    from homeserver.services.policy.index import RuleSet

    return RuleSet(rules)


async def _judge_all(run: DryRun, events: AsyncIterator[Subject]) -> None:
    async for subject in events:
        await run.judge(subject)


# ---------------------------------------------------------------- the report


def _report(run: DryRun) -> None:
    """A table by rule; never what was written."""
    rows = [
        (
            outcome.rule.name,
            outcome.rule.mode,
            outcome.rule.action,
            str(outcome.matched),
            " ".join(outcome.examples),
        )
        for outcome in run.outcomes.values()
    ]
    rows.append(("(no rule decides)", "", "", str(run.undecided), ""))
    click.echo(table(("rule", "mode", "action", "matched", "examples"), rows))
    click.echo(f"{run.judged} events")
    unanswered = [rule.name for rule in run.unanswered()]
    if unanswered:
        click.echo(
            "not all that these rules ask is known here, so they may match too little: "
            + ", ".join(unanswered)
        )
