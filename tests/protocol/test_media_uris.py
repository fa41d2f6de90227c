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
