"""The threads in which media is read and written.

They are not those of :func:`asyncio.to_thread`: storage that is slow to answer keeps media waiting
and nothing else.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

WORKERS = 24
_pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="media")


async def in_media_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do something that blocks on media."""
    context = contextvars.copy_context()
    call = partial(context.run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_pool, call)
