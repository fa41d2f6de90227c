"""URLs that others write."""

from __future__ import annotations

from yarl import URL


def to_url(text: str) -> URL:
    """A URL or a reference.  Raises :class:`ValueError`, and nothing else, for what is none.

    yarl raises other errors as well, for ``http://[]@`` say.
    """
    try:
        return URL(text)
    except (LookupError, TypeError) as error:
        raise ValueError(f"no URL: {error}") from error
