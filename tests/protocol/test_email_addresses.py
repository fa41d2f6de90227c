"""E-mail addresses: what is one, how they are compared, and what a header may hold."""

from __future__ import annotations

import pytest

from homeserver.protocol.email_addresses import (
    InvalidEmailAddress,
    canonical_email,
    header_address,
    parse_sender,
    shown_email,
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("alice@example.org", "alice@example.org"),
        ("Alice.B+tag@Example.ORG", "alice.b+tag@example.org"),
        ("Strauß@Example.com", "strauss@example.com"),  # the example of the spec
        ("用户@例子.测试", "用户@例子.测试"),
        ("root@localhost", "root@localhost"),
    ],
)
def test_addresses_are_compared_case_folded(text: str, canonical: str) -> None:
    assert canonical_email(text) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "@example.org",
        "alice@",
        "alice@@example.org",
        "alice@example..org",
        "alice@-example.org",
        "a b@example.org",
        "alice@example.org\r\nBcc: eve@example.org",
        "alice@example.org\nX: y",
        "alice@example.org\0",
        "alice@example.org, eve@example.org",
        "<alice@example.org>",
        '"alice"@example.org',
        "alice@[127.0.0.1]",
        "a" * 65 + "@example.org",
        "a@" + "b" * 64 + ".org",
        "a@" + ".".join(["bbbbbbbb"] * 40),
        "alice@example.org\ud800",
    ],
)
def test_what_mail_cannot_be_sent_to_is_refused(text: str) -> None:
    with pytest.raises(InvalidEmailAddress):
        canonical_email(text)


def test_a_domain_in_other_letters_goes_out_as_dns_has_it() -> None:
    assert header_address("alice@bücher.example").addr_spec == "alice@xn--bcher-kva.example"


def test_a_sender_may_have_a_name() -> None:
    sender = parse_sender('"Example, Chat" <noreply@example.org>')

    assert sender.display_name == "Example, Chat"
    assert sender.addr_spec == "noreply@example.org"
    assert parse_sender("noreply@example.org").display_name == ""


def test_a_log_has_no_address_in_full() -> None:
    assert shown_email("alice@example.org") == "a...@e..."
