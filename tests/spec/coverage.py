"""Which operations of the specification are answered, and the page that says so."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from aiohttp import web

from homeserver.app import add_all_routes

from .bundle import Operation, operations, plain_path
from .mistakes import MISTAKES

PAGE = Path(__file__).parent.parent.parent / "docs" / "spec_coverage.md"
TITLES = {"client-server": "Client-Server API", "server-server": "Server-Server API"}
HEAD = """# Operations of the specification (v1.19)

Which operations are answered, and by which module; the others answer 404 `M_UNRECOGNIZED`. Written
by `python -m tools.write_spec_coverage` from the routes of the server.

Each answer in the tests is held against the specification's OpenAPI document and event schemas
(`tests/spec`), and `make test` fails if an operation that is answered was not exercised there, with
a good answer that was validated. At its end it prints how many were.
"""
REFUSED = """
## Always refused

These operations are answered with the specification's error:

"""

WRONG = """
## Where the specification's own files are not taken at their word

"""

NO_NUMBERS = "telephone numbers are not taken: the server sends no text messages"
ALWAYS_REFUSED: dict[str, str] = {
    "requestTokenTo3PIDMSISDN": NO_NUMBERS,
    "requestTokenToResetPasswordMSISDN": NO_NUMBERS,
    "requestTokenToRegisterMSISDN": NO_NUMBERS,
    "federation:queryInfo": "there are no queries but directory and profile, which are operations"
    " of their own",
}
"""Operations of which every answer is an error, by design; why."""


@functools.cache
def answered() -> dict[str, str]:
    """The module that answers an operation, by the operation's name."""
    app = web.Application()
    add_all_routes(app)
    modules = {
        (route.method, plain_path(route.resource.canonical)): route.handler.__module__
        for route in app.router.routes()
        if route.resource is not None
    }
    return {o.name: modules[o.key] for o in operations() if o.key in modules}


def page() -> str:
    """``docs/spec_coverage.md``."""
    tables = [_table(api, title) for api, title in TITLES.items()]
    refused = [f"- `{name}`: {reason}" for name, reason in sorted(ALWAYS_REFUSED.items())]
    mistakes = [f"- {reason}" for reason in dict.fromkeys(m.reason for m in MISTAKES)]
    return "".join(
        (HEAD, *tables, REFUSED, "\n".join(refused), "\n", WRONG, "\n".join(mistakes), "\n")
    )


def _table(api: str, title: str) -> str:
    of_this = [operation for operation in operations() if operation.api == api]
    count = sum(operation.name in answered() for operation in of_this)
    rows = "".join(_row(operation) for operation in of_this)
    return (
        f"\n## {title}: {count} of {len(of_this)}\n\n"
        f"| operation | method and path | module |\n| --- | --- | --- |\n{rows}"
    )


def _row(operation: Operation) -> str:
    module = answered().get(operation.name)
    name = operation.name.rpartition(":")[2]
    answer = "no" if module is None else f"`{module}`"
    return f"| `{name}` | {operation.method} `{operation.path}` | {answer} |\n"


def missing(validated: dict[str, set[int]]) -> tuple[list[str], list[str]]:
    """What is answered but was not exercised at all, and what without a good answer."""
    names = list(answered())
    silent = [name for name in names if not validated.get(name)]
    unwell = [
        name
        for name in names
        if name not in silent
        and name not in ALWAYS_REFUSED
        and not any(status < 400 for status in validated[name])
    ]
    return silent, unwell


def report(validated: dict[str, set[int]]) -> str:
    """A line for each API: how many operations there are, are answered, and were validated."""

    def count(names: Iterable[str], api: str) -> int:
        return len({o.name for o in operations() if o.api == api} & set(names))

    lines = []
    for api, title in TITLES.items():
        silent, unwell = missing(validated)
        exercised = set(answered()) - set(silent)
        lines.append(
            f"{title}: {count((o.name for o in operations()), api)} operations, "
            f"{count(answered(), api)} answered, {count(exercised, api)} exercised, "
            f"{count(exercised - set(unwell), api)} with a good answer validated"
        )
    return "\n".join(lines)
