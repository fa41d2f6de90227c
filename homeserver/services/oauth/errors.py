"""Errors of OAuth 2.0 that Authlib has no class for."""

from __future__ import annotations

from authlib.oauth2 import OAuth2Error


class InvalidRedirectUri(OAuth2Error):  # type: ignore[misc]
    """RFC 7591, section 3.2.2."""

    error = "invalid_redirect_uri"


class InteractionRequired(OAuth2Error):  # type: ignore[misc]
    """A request that must not show a page cannot be answered: OpenID Connect, section 3.1.2.6."""

    error = "interaction_required"


class TemporarilyUnavailable(OAuth2Error):  # type: ignore[misc]
    """Too many requests.  RFC 6749, section 4.1.2.1.

    Not 429: of a refresh that fails with 4xx clients take it that they are logged out.
    Spec: client-server API, refresh token grant.
    """

    error = "temporarily_unavailable"
    status_code = 503
