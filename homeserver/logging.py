"""Logs: structlog, JSON in production, readable in a terminal.  No secret ever reaches one."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import orjson
import structlog
from aiohttp.http_exceptions import HttpProcessingError

SECRET_KEYS = frozenset(
    {
        "access_token",
        "authorization",
        "body",
        "content",
        "key",
        "new_password",
        "password",
        "refresh_token",
        "token",
    }
)


def redact_secrets(_logger: Any, _method: str, event: structlog.typing.EventDict) -> Any:
    """Replace the values of keys that could bear a secret or a message's text."""
    for key in event.keys() & SECRET_KEYS:
        event[key] = "<redacted>"
    return event


def is_of_the_server(record: logging.LogRecord) -> bool:
    """Whether a record tells of more than bytes that are no HTTP.

    aiohttp answers those with 400, and logs a traceback that quotes them: an address that is too
    long, say, with the token in it.
    """
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def as_json(_logger: Any, _method: str, event: structlog.typing.EventDict) -> bytes:
    """A line of the log, without its end."""
    return orjson.dumps(event, default=str)


def as_json_text(logger: Any, method: str, event: structlog.typing.EventDict) -> str:
    """:func:`as_json` for the standard library's logging."""
    return as_json(logger, method, event).decode()


def configure(log_format: str, level: str) -> None:
    """Set logging up for the process: ``json`` or ``console``, to standard error."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    factory: structlog.BytesLoggerFactory | structlog.PrintLoggerFactory
    renderer: list[Callable[..., Any]]
    foreign_renderer: list[Callable[..., Any]]
    if log_format == "json":
        factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
        renderer = [structlog.processors.format_exc_info, as_json]
        foreign_renderer = [structlog.processors.format_exc_info, as_json_text]
    else:
        factory = structlog.PrintLoggerFactory(sys.stderr)
        # never local variables: they may hold passwords and tokens
        plain = structlog.dev.plain_traceback
        renderer = foreign_renderer = [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
        ]
    common: list[Callable[..., Any]] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        redact_secrets,
    ]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *common, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=common,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *foreign_renderer,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
    logging.getLogger("aiohttp.server").addFilter(is_of_the_server)
