"""The user's page, ``/_comity/me``: consent, message requests, history, invitations, one's data.

The page is three files without a build step.  It knows nothing by itself: it signs in like any
client and calls ``/_comity/client/v1``.  See ``docs/consent-page.md``.
"""

from __future__ import annotations

from aiohttp import web

from client_api.web.static_files import StaticFile
from homeserver.web import Handler

routes = web.RouteTableDef()

PATH = "/_comity/me"
FILES = {
    PATH: StaticFile.read("me.html", "text/html"),
    f"{PATH}/page.css": StaticFile.read("page.css", "text/css"),
    f"{PATH}/me.js": StaticFile.read("me.js", "text/javascript"),
}


def _serve(file: StaticFile) -> Handler:
    async def static_file(request: web.Request) -> web.Response:
        """One of the page's files."""
        return file.answer(request)

    return static_file


for _path, _file in FILES.items():
    routes.get(_path)(_serve(_file))
