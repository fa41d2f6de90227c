"""A check's ``match``: written and compiled as a rule's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from homeserver.config import ConfigError, PolicyConfig
from homeserver.services.external_checks.definition import CheckDefinition, check_problems
from homeserver.services.media_facts import MediaSubject
from homeserver.services.policy.conditions import Aspect
from homeserver.services.policy.engine import look_closer
from homeserver.services.policy.file_subject import file_subject
from homeserver.services.policy.ports import Ports
from homeserver.services.policy.rules import Rule, compile_rules
from homeserver.services.policy.subject import Subject

COUNTING = Aspect.RATE | Aspect.INVITES  # only rules count


class CheckMatch:
    """What to ask a check about."""

    def __init__(self, rule: Rule, ports: Ports) -> None:
        self._rule = rule
        self._ports = ports

    async def event(self, subject: Subject) -> bool:
        """Whether to ask about an event, which the rules have judged already."""
        truth = self._rule.condition.truth(subject, subject.known)
        return await look_closer(self._rule, subject, self._ports) if truth is None else truth

    def media(self, file: MediaSubject) -> bool:
        """Whether to ask about a file: unless what is known of it excludes it."""
        subject = file_subject(file)
        return self._rule.condition.truth(subject, subject.known) is not False


def compile_checks(section: PolicyConfig, base: Path) -> list[tuple[CheckDefinition, Rule | None]]:
    """The checks of a configuration, each with its compiled ``match``.

    Reads the files that they name: it may block.  Raises :class:`ConfigError`.
    """
    problems = list(check_problems(section.checks, section.checks_secret))
    if problems:
        raise ConfigError(problems)
    definitions = [CheckDefinition.parse(check, section.checks_secret) for check in section.checks]
    matched = [definition for definition in definitions if definition.match is not None]
    rules = {rule.name: rule for rule in _rules(matched, base)}
    for rule in rules.values():
        if rule.aspects & COUNTING:
            problem = "found 'rate' or 'invites'; allowed: what does not count"
            raise ConfigError([f"policy.checks {rule.name!r}: match: {problem}"])
    return [(definition, rules.get(definition.name)) for definition in definitions]


def _rules(definitions: Sequence[CheckDefinition], base: Path) -> list[Rule]:
    documents = [{"name": each.name, "match": each.match, "action": "flag"} for each in definitions]
    return compile_rules(documents, base, at="policy.checks")
