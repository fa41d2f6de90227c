"""Lists as CSV files."""

from __future__ import annotations

import pytest

from homeserver.errors import InvalidParam
from homeserver.services.policy_lists.entries import Wanted
from homeserver.services.policy_lists.files import read_list, write_list
from homeserver.services.policy_lists.policy_list import ListSettings, PolicyList
from homeserver.storage.policy_lists import EntryRow, ListRow


def read(text: str, *, allow: bool = False) -> list[tuple[str, str, str | None, str]]:
    entries = read_list(text, allow=allow).values()
    return [(e.rule.kind, e.rule.entity, e.action, e.rule.reason) for e in entries]


def test_kinds_entities_recommendations_and_reasons_are_read() -> None:
    text = (
        "kind,entity,recommendation,reason\n"
        "server,Evil.example,m.ban,spam\n"
        "user,@a:b.c,org.matrix.mjolnir.ban,\n"
        'room,!r:b.c,flag,"odd, very"\n'
        "server,good.example,allow,\n"
    )

    assert read(text) == [
        ("server", "evil.example", "block", "spam"),
        ("user", "@a:b.c", "block", ""),
        ("room", "!r:b.c", "flag", "odd, very"),
        ("server", "good.example", "allow", ""),
    ]


def test_mastodons_domain_blocks_are_read() -> None:
    text = (
        "\ufeff#domain,#severity,#reject_media,#reject_reports,#public_comment,#obfuscate\r\n"
        "evil.example,suspend,true,true,harassment,false\r\n"
        "loud.example,silence,false,false,,false\r\n"
        "fine.example,noop,true,false,no media,false\r\n"
    )

    assert read(text) == [
        ("server", "evil.example", "block", "harassment"),
        ("server", "loud.example", "flag", ""),
    ]


def test_a_column_may_be_the_kind_and_the_kind_may_be_plain_from_the_entity() -> None:
    assert read("server\nevil.example\n\n") == [("server", "evil.example", "block", "")]
    assert read("user,reason\n@a:b.c,x\n") == [("user", "@a:b.c", "block", "x")]
    assert [kind for kind, *_ in read("entity\n@a:b.c\n!r\n#a:b.c\nb.c\n")] == [
        "user",
        "room",
        "room",
        "server",
    ]


def test_an_allow_list_allows() -> None:
    assert read("domain,severity\ngood.example,suspend\n", allow=True) == [
        ("server", "good.example", "allow", "")
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("a,b\n1,2\n", "Line 1"),
        ("kind,entity\nplanet,mars\n", "Line 2: the kind 'planet'"),
        ("server,severity\nevil.example,m.praise\n", "Line 2: the recommendation 'm.praise'"),
        (f"server\na.b\n{'x' * 300}\n", "Line 3"),
        ('server\n"a\n', "not CSV"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(InvalidParam, match=said):
        read(text)


def test_what_is_written_is_read_again() -> None:
    row = ListRow(1, "mine", True, None, "", 0, "", None, None, None)
    entries = [
        EntryRow("server", "evil.example", None, 'a "reason", quoted', True, True, False, 0),
        EntryRow("user", "@a:b.c", "flag", "", True, True, False, 0),
        EntryRow("user", "@draft:b.c", "flag", "", True, False, False, 0),
    ]
    policies = PolicyList(row, ListSettings(), {entry.key: entry for entry in entries})

    text = write_list(policies)

    assert read(text) == [
        ("server", "evil.example", "block", 'a "reason", quoted'),
        ("user", "@a:b.c", "flag", ""),
    ]
    assert all(isinstance(entry, Wanted) for entry in read_list(text).values())
