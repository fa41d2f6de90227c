"""What a person would read, and how words, links and people are found in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.services.policy.text import fold, has_phrase, normal_host, words_of
from tests.services.policy.samples import matches, message


@pytest.mark.parametrize(
    "content",
    [
        {"body": "casino"},
        {"body": "", "format": "org.matrix.custom.html", "formatted_body": "<p>casino</p>"},
        {"body": "", "formatted_body": "c<b>as</b>ino"},
        {"body": "", "formatted_body": "my&nbsp;casino<br>is open"},
        {"body": "* x", "m.new_content": {"body": "casino"}},
        {"m.topic": {"m.text": [{"body": "casino"}]}, "topic": ""},
        {"m.poll": {"question": {"m.text": [{"body": "casino"}]}}},
        {"name": "The Casino"},
        {"topic": "casino"},
        {"membership": "join", "displayname": "Casino"},
        {"membership": "ban", "reason": "casino"},
        {"body": "ＣＡＳＩＮＯ"},
        {"body": "ca\u200bsi\u00adno"},
    ],
)
def test_a_word_is_found_where_people_read_it(content: dict[str, Any]) -> None:
    assert matches({"keywords": ["casino"]}, message("", content=content))


@pytest.mark.parametrize(
    "content",
    [
        {"body": "", "formatted_body": "<p>ca</p><p>sino</p>"},
        {"body": "", "formatted_body": '<a href="https://casino.example">here</a>'},
        {"body": "casino_royale"},
        {"body": "casinó"},
        {"body": "casino\u0301"},
        {"info": {"comment": "casino"}},
        {"body": {"casino": "casino"}},
    ],
)
def test_a_word_is_not_found_where_nobody_reads_it(content: dict[str, Any]) -> None:
    assert not matches({"keywords": ["casino"]}, message("", content=content))


def test_text_below_a_depth_is_not_looked_for() -> None:
    content: dict[str, Any] = {"body": "casino"}
    for _ in range(100):
        content = {"m.new_content": content}

    assert not matches({"keywords": ["casino"]}, message("", content=content))


@pytest.mark.parametrize("word", ["किताब", "strasse", "ΣΊΣΥΦΟΣ", "naïve", "книга"])
def test_words_of_any_script_are_found_whole(word: str) -> None:
    assert matches({"keywords": [word]}, message(f"...{word.upper()}, {word}"))
    assert not matches({"keywords": [word]}, message(f"x{word}"))
    assert not matches({"keywords": [word]}, message(f"{word}x"))


def test_sharp_s_is_two() -> None:
    assert matches({"keywords": ["strasse"]}, message("Die Straße"))


TEXT = st.text(st.sampled_from("aB_1é\u0301 .-\n"), max_size=12)


@given(text=TEXT, word=st.text(st.sampled_from("aB1é"), min_size=1, max_size=3))
def test_a_plain_keyword_is_one_of_the_words(text: str, word: str) -> None:
    folded, keyword = fold(text), fold(word)
    if "\u0301" not in folded:  # else a word may go on where the pattern for words ends
        assert has_phrase(folded, keyword) == (keyword in words_of(folded))
    assert matches({"keywords": [word]}, message(text)) == has_phrase(folded, keyword)


@given(st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    subject = message(text, content={"formatted_body": f"<p>{text}</p>"})

    assert fold(fold(text)) == fold(text)
    assert isinstance(subject.links() | subject.domains() | subject.mentions(), frozenset)
    matches({"keywords": ["x"], "regex": "x", "link_domains": ["x.y"]}, subject)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("no. links here: e.g. this", 0),
        ("http://a.example and https://b.example/x?y#z", 2),
        ("https://a.example https://a.example", 1),
        ("www.a.example HTTP://B.EXAMPLE", 2),
        ("https://matrix.to/#/@alice:one.test", 0),
        ("https://matrix.to/#/!room:one.test", 1),
        ("mailto:a@b.example", 0),
    ],
)
def test_links_are_counted(text: str, count: int) -> None:
    assert len(message(text).links()) == count


def test_links_of_markup_are_counted_with_those_of_the_text() -> None:
    markup = "<a href='https://b.example/'>b</a> <a class=x href=\"https://a.example\">a</a>"

    subject = message("https://a.example", content={"formatted_body": markup})

    assert subject.links() == {"https://a.example", "https://b.example/"}
    assert {"a.example", "b.example"} <= subject.domains()


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("https://user:pw@shop.spam.example:8080/x", "spam.example"),
        ("go to spam.example/x", "spam.example"),
        ("(spam.example)", "spam.example"),
        ("SPAM.EXAMPLE.", "spam.example"),
        ("https://bücher.example", "xn--bcher-kva.example"),
        ("bücher。example", "bücher.example"),
        ("ｓｐａｍ.example", "spam.example"),
    ],
)
def test_domains_are_found_in_every_spelling(text: str, domain: str) -> None:
    assert matches({"link_domains": [domain]}, message(text))


@pytest.mark.parametrize(
    "text", ["@bob:spam.example", "bob@spam.example", "notspam.example", "spam.example.org", "a.b"]
)
def test_what_leads_elsewhere_is_another_domain(text: str) -> None:
    assert not matches({"link_domains": ["spam.example"]}, message(text))


@pytest.mark.parametrize("name", ["Example.COM", "bücher.example", "a" * 80 + ".ü", "..", ""])
def test_a_host_is_normal_once(name: str) -> None:
    assert normal_host(normal_host(name)) == normal_host(name)


@pytest.mark.parametrize(
    ("content", "mentioned"),
    [
        ({"body": "hi @alice:one.test!"}, {"@alice:one.test"}),
        ({"body": "@alice:one.test:8448"}, {"@alice:one.test:8448"}),
        ({"m.mentions": {"user_ids": ["@a:x", 7], "room": True}}, {"@a:x", "@room"}),
        ({"m.mentions": {"user_ids": "@a:x"}}, set()),
        ({"m.new_content": {"m.mentions": {"user_ids": ["@a:x"]}}}, {"@a:x"}),
        ({"formatted_body": '<a href="https://matrix.to/#/@a:x.y">a</a>'}, {"@a:x.y"}),
        ({"formatted_body": '<a href="https://matrix.to/#/%40a%3Ax.y">a</a>'}, {"@a:x.y"}),
        ({"formatted_body": '<a href="matrix:u/a:x.y?action=chat">a</a>'}, {"@a:x.y"}),
        ({"body": "me@home"}, set()),
    ],
)
def test_people_are_found(content: dict[str, Any], mentioned: set[str]) -> None:
    assert message("", content=content).mentions() == mentioned


HOSTILE = (
    "<" * 60_000,
    "<p " * 20_000,
    "href='" * 10_000,
    "&#" + "9" * 60_000 + ";",
    "a." * 30_000,
    "@a:" * 20_000,
    "@" + "a" * 60_000,
    "https://" * 8_000,
    "-" * 60_000,
    "\u0301" * 30_000,
    "\ufdfa" * 20_000,
    "ü." * 20_000 + "com",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_read_in_one_pass(text: str) -> None:
    """What took the square of its length would not come to an end here."""
    subject = message(text, content={"formatted_body": text})

    found = subject.links() | subject.domains() | subject.mentions() | subject.words()
    matches({"keywords": ["a b", "x", "$"], "regex": "(a+)+$"}, subject)

    assert sum(map(len, found)) <= 10 * len(text) + 1_000


def test_half_a_character_pair_is_no_error() -> None:
    subject = message("casino \ud800 https://a.example/\udfff")

    assert matches({"keywords": ["casino"]}, subject)
    assert matches({"regex": "casino"}, subject)
    assert matches({"links": {"min": 1}, "link_domains": ["a.example"]}, subject)
    assert matches({"size_bytes": {"max": 0}}, subject)


@given(
    text=st.lists(
        st.sampled_from(
            ("a", " ", ".", "@", ":", "/", "://", "www.", "x.y", "@u:x", "matrix.to/#/", "。", "é")
        ),
        max_size=8,
    ).map("".join),
    markup=st.sampled_from((None, "<b>x</b>", '<a href="https://x">y</a>')),
)
def test_a_plain_text_has_no_links_no_domains_and_no_users(text: str, markup: str | None) -> None:
    content = {} if markup is None else {"formatted_body": markup}
    subject = message(text, content=content)

    assert not (subject.is_plain() and (subject.links() | subject.domains() | subject.mentions()))


def test_most_texts_are_plain() -> None:
    assert message("Hello, how are you?  I am well... thanks.").is_plain()
    assert not message("see a.example").is_plain()


VALUES = st.recursive(
    st.one_of(
        st.text(max_size=20),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.booleans(),
        st.none(),
        st.just("\ud800"),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(content=st.dictionaries(st.text(max_size=4), VALUES, max_size=5), size=st.integers(0, 400))
def test_what_is_surely_below_a_size_is_below_it(content: dict[str, Any], size: int) -> None:
    subject = message(content=content)

    assert not subject.is_surely_below(size) or subject.size_bytes() < size


def test_a_short_message_is_surely_below_a_large_size() -> None:
    assert message("hello").is_surely_below(1_000)
