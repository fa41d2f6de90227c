"""What makes thousands of instances start quickly in the process of their tests.

Each is wired as in production; what does not differ from one to the next is made once, a password
costs little to hash, and what is written need not outlive a power cut.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiohttp import web
from aiohttp.web_urldispatcher import UrlDispatcher

from homeserver import app, wiring
from homeserver.services.passwords import Passwords

add_all_routes = app.add_all_routes


@functools.cache
def _all_routes() -> UrlDispatcher:
    """The routes of every instance: they name handlers, and nothing of an application."""
    alone = web.Application()
    add_all_routes(alone)
    return alone.router


def _share_all_routes(application: web.Application) -> None:
    application._router = _all_routes()


@contextmanager
def quick_instances() -> Iterator[None]:
    """Every instance that is started meanwhile has the same routes, and cheap passwords."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "add_all_routes", _share_all_routes)
        patch.setattr(os, "fsync", lambda _file: None)
        patch.setattr(wiring, "Passwords", functools.partial(Passwords, memory_kib=8, passes=1))
        yield
