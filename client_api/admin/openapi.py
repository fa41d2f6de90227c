"""The OpenAPI 3.1 document of the admin API, made of what its modules declare."""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import Any

import msgspec

from client_api.admin import FAMILIES, MODULES, AdminModule
from client_api.admin.api import ADMIN, AdminApi
from client_api.admin.routing import PREFIX
from client_api.conversations.api import Operation
from client_api.conversations.openapi import About, Family, openapi_path
from client_api.conversations.openapi import document as whole_document
from homeserver.protocol.events import JsonObject

DESCRIPTION = """\
Administration of a Comity server, for its admins.

Users are written as user IDs or addresses, percent-encoded in paths. Times are ms since 1970.
Lists come in pages: `next` is the `cursor` of the page that follows. Failures have the shape of the
Matrix Client-Server API's. What changes something is noted in the audit trail."""
_CAPITALISED = re.compile(r"_+")


class MatrixFailure(msgspec.Struct, kw_only=True, frozen=True):
    """What went wrong, as the Matrix Client-Server API says it."""

    errcode: str
    error: str


ABOUT = About(
    PREFIX,
    "Comity admin API",
    DESCRIPTION,
    MatrixFailure,
    "application/json",
    "An admin's access token",
    idempotent=False,
)


@cache
def document(base_url: str) -> JsonObject:
    """The document, for a server at an address."""
    return whole_document(families(), base_url, ABOUT)


def families() -> list[Family]:
    """All operations.  Those of the older modules say what they do, but not with what shapes."""
    return [*(family.api for family in FAMILIES), *map(_older, MODULES)]


async def _answered_elsewhere(_call: Any) -> None:
    """The older modules' routes answer by themselves."""


def _older(module: AdminModule) -> AdminApi:
    name = getattr(module, "__name__", "").rpartition(".")[2]
    family = AdminApi(_CAPITALISED.sub(" ", name).capitalize(), inspect.getdoc(module) or "")
    for route in module.routes.definitions:
        summary, _, description = (inspect.getdoc(route.handler) or "").partition("\n\n")
        streams = "web.StreamResponse" in str(inspect.signature(route.handler).return_annotation)
        takes_body = route.method in ("POST", "PUT")
        raw = streams and route.method == "GET"
        family.operations.append(
            Operation(
                method=route.method,
                path=openapi_path(route.path.removeprefix(PREFIX)),
                tag=family.tag,
                name=f"{name}_{route.handler.__name__}",
                summary=" ".join(summary.split()),
                description=description,
                scope=ADMIN,
                body=None,
                query=None,
                answer=None,
                status=200,
                handler=_answered_elsewhere,
                media_type="application/octet-stream" if raw else None,
                takes="application/json" if takes_body else None,
            )
        )
    return family
