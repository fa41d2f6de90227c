"""Routes of Comity's own API for users."""

from __future__ import annotations

from client_api.routing import PrefixRoutes

PREFIX = "/_comity/client/v1"


class ComityRoutes(PrefixRoutes):
    """Collects handlers as ``@routes.get("/invitations")``."""

    def __init__(self) -> None:
        super().__init__(PREFIX)
