"""The parts of the configuration that say how people and clients log in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from msgspec import Struct


@dataclass(frozen=True, slots=True)
class SignInConfig:
    """``jwt``, ``oidc_providers`` (see ``services/sign_in/settings.py``), ``sso_redirect_urls``."""

    jwt_issuers: list[dict[str, Any]] = field(repr=False)
    oidc_providers: list[dict[str, Any]] = field(repr=False)
    redirect_urls: list[str]


class OAuthConfig(Struct, frozen=True):
    """``oauth``.  ``client_hosts`` None: any; ``refresh_token_lifetime_ms`` None: for ever."""

    DURATIONS: ClassVar = (
        "access_token_lifetime",
        "refresh_token_lifetime",
        "browser_session_lifetime",
    )

    enabled: bool
    client_hosts: list[str] | None
    access_token_lifetime_ms: int
    refresh_token_lifetime_ms: int | None
    browser_session_lifetime_ms: int
