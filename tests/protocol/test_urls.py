"""URLs that others write."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from homeserver.protocol.urls import to_url


@pytest.mark.parametrize("text", ["http://[]@", "//[]@", "http://[", "http://a:b"])
def test_what_is_no_url_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        to_url(text).port  # noqa: B018


@given(st.text(alphabet="htp:/[]@%?#\\.x1ß", max_size=20))
@example("https://one.test/path?query#fragment")
def test_nothing_but_a_value_error_is_raised(text: str) -> None:
    with contextlib.suppress(ValueError):
        to_url(text)
