"""The application's parts, by the key under which a handler finds each: ``request.app[ROOMS]``.

``homeserver/app.py`` fills them in.
"""

from __future__ import annotations

from aiohttp import web

from homeserver.config import Config
from homeserver.storage.database import Database

CONFIG = web.AppKey("CONFIG", Config)
DATABASE = web.AppKey("DATABASE", Database)
