"""Which media a message refers to."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.protocol.media_uris import MediaUri, media_uris, parse_media_uri


@pytest.mark.parametrize(
    "text",
    [
        None,
        1,
        "",
        "mxc://",
        "mxc://a",
        "mxc://a/",
        "mxc:///b",
        "http://a/b",
        "mxc://a/b/c",
        "mxc://a/\0",
    ],
)
def test_what_is_no_uri_is_none(text: object) -> None:
    assert parse_media_uri(text) is None


def test_a_file_and_its_thumbnail_plain_and_encrypted_are_found_once_each() -> None:
    content: dict[str, Any] = {
        "url": "mxc://one.test/a",
        "info": {
            "thumbnail_url": "mxc://one.test/b",
            "thumbnail_file": {"url": "mxc://two.test/c"},
        },
        "file": {"url": "mxc://one.test/a"},
        "m.new_content": {"url": "mxc://one.test/d"},
    }

    assert media_uris(content) == [
        MediaUri("one.test", "a"),
        MediaUri("one.test", "b"),
        MediaUri("two.test", "c"),
        MediaUri("one.test", "d"),
    ]


def test_nonsense_where_an_object_belongs_is_passed_over() -> None:
    assert media_uris({"info": 1, "file": [], "m.new_content": "x", "url": {}}) == []


@pytest.mark.parametrize("key", ["body", "formatted_body"])
@pytest.mark.parametrize(
    ("text", "media_ids"),
    [
        ('<img data-mx-emoticon src="mxc://one.test/a" alt="a" height="32" />', ["a"]),
        ("<img src='mxc://one.test/a'><img src=mxc://one.test/b-_9>", ["a", "b-_9"]),
        ("Alice [Spoiler](mxc://one.test/abc123) in the movie.", ["abc123"]),
        ("mxc://one.test/a mxc://one.test/a, mxc://one.test/b.", ["a", "b"]),
        ("mxc:// mxc://one.test mxc://one.test/ http://one.test/a", []),
    ],
)
def test_images_and_links_in_the_text_are_found(key: str, text: str, media_ids: list[str]) -> None:
    expected = [MediaUri("one.test", media_id) for media_id in media_ids]

    assert media_uris({key: text}) == expected
    assert media_uris({key: "* ", "m.new_content": {key: text}}) == expected


def test_an_image_whose_address_is_written_in_references_is_found() -> None:
    image = '<img src="&#109;xc&colon;&#x2f;/one.test/a">'

    assert media_uris({"formatted_body": image}) == [MediaUri("one.test", "a")]


def test_a_server_with_a_literal_address_is_found_in_the_text() -> None:
    assert media_uris({"body": "mxc://[2001:db8::1]:8448/a"}) == [
        MediaUri("[2001:db8::1]:8448", "a")
    ]


def test_the_images_of_a_pack_and_its_own_are_found() -> None:
    content: dict[str, Any] = {
        "images": {
            "cat": {"url": "mxc://one.test/a", "info": {"thumbnail_url": "mxc://one.test/b"}},
            "dog": {"url": "mxc://two.test/c"},
            "nonsense": 1,
        },
        "pack": {"display_name": "Pets", "avatar_url": "mxc://one.test/d"},
    }

    assert [uri.media_id for uri in media_uris(content)] == ["a", "b", "c", "d"]
    assert media_uris({"images": [], "pack": "x", "formatted_body": {}}) == []


def test_of_each_text_only_so_many_are_looked_at() -> None:
    text = " ".join(f"mxc://one.test/{number}" for number in range(1_000))

    assert len(media_uris({"body": text, "formatted_body": "&#" + "1" * 10_000 + ";"})) == 100
