"""The page on which a user logs in for a client that knows none of the ways.

It asks ``/login`` from the reader's browser, and hands the answer to the client that shows it.
Spec: client-server API, login fallback.
"""

from __future__ import annotations

import html
from urllib.parse import urlencode

from aiohttp import web

from client_api.routing import ClientRoutes
from client_api.web import plain_page
from client_api.web.static_files import StaticFile
from homeserver.app_keys import CONFIG, OIDC_LOGINS

routes = ClientRoutes()

PATH = "/_matrix/static/client/login/"
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Log in - {server}</title>
<link rel="stylesheet" href="/_comity/me/page.css">
<main class="plain">
<h1>Log in to {server}</h1>
<p id="notice" class="note bad" role="alert" hidden></p>
<form id="form">
<label for="user">Your user name or e-mail address</label>
<input id="user" required autocomplete="username" autocapitalize="none">
<label for="password">Your password</label>
<input id="password" type="password" required autocomplete="current-password">
<button>Log in</button>
</form>
{providers}
<p id="done" class="note" role="status" hidden>You are logged in. Go back to your app.</p>
<noscript><p>This page needs JavaScript.</p></noscript>
</main>
<script src="{script}"></script>
</html>
"""
PROVIDER = '<p><a href="{url}">Log in with {name}</a></p>'
SCRIPT = StaticFile.read("login.js", "text/javascript")


async def show_login_fallback(request: web.Request) -> web.Response:
    """The page.  Parameters of ``/login`` in its query go with the log-in."""
    config = request.app[CONFIG]
    here = f"{config.public_base_url}{PATH}"
    query = {key: value for key, value in request.query.items() if key != "loginToken"}
    to = f"{here}?{urlencode(query)}" if query else here
    providers = [
        PROVIDER.format(
            url=html.escape(
                f"/_matrix/client/v3/login/sso/redirect/{provider.settings.id}?"
                + urlencode({"redirectUrl": to})
            ),
            name=html.escape(provider.settings.name),
        )
        for provider in request.app[OIDC_LOGINS].providers.values()
    ]
    text = PAGE.format(
        server=html.escape(config.server_name),
        providers="\n".join(providers),
        script=f"{PATH}login.js",
    )
    return web.Response(text=text, content_type="text/html", headers=plain_page.HEADERS)


async def get_login_script(request: web.Request) -> web.Response:
    """The page's script."""
    return SCRIPT.answer(request)


routes.definitions += [
    web.get(PATH, show_login_fallback),
    web.get(f"{PATH}login.js", get_login_script),
]
