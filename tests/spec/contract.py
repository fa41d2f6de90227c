"""Every Matrix answer in the tests is held against what the specification says of it."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from .bundle import Operation, operations, validator, validator_of
from .events import Malformed, event_error, events_in

JSON = "application/json"
CLIENT_GONE = 499
OF_HTTP_ITSELF = (206, 304, 416)
"""A part of a file, a file that the client has, a part that no file has."""


@functools.cache
def _response_validator(operation: Operation, status: str) -> Any:
    schema = operation.responses[status].get(JSON, {}).get("schema")
    return None if schema is None else validator(schema)


class Contract:
    """What was answered so far, and what of it was wrong."""

    def __init__(self) -> None:
        self.validated: dict[str, set[int]] = defaultdict(set)
        """The statuses of the answers that were validated, by operation."""
        self.violations: list[str] = []
        self.malformed = Malformed()
        self._is_counting = True

    @contextmanager
    def not_counting(self) -> Iterator[None]:
        """What is asked by chance shows nothing about what the tests ask; it is validated."""
        self._is_counting = False
        try:
            yield
        finally:
            self._is_counting = True

    def take_violations(self) -> list[str]:
        """What was wrong since this was last asked."""
        taken, self.violations = self.violations, []
        return taken

    def check(
        self,
        candidates: Iterable[Operation],
        call: str,
        status: int,
        content_type: str,
        body: bytes | None,
    ) -> None:
        """Note an answer of one of these operations (none: of no operation of the spec).

        ``body`` is None for what is streamed.
        """
        if status == CLIENT_GONE:
            return
        faults: list[str] = []
        for operation in candidates or (None,):
            fault = self._fault(operation, status, content_type, body)
            if fault is None:
                if operation is not None and self._is_counting:
                    self.validated[operation.name].add(status)
                break
            faults.append(f"{call} -> {status}: {fault}")
        else:
            self.violations += faults[:1]

    def _fault(
        self, operation: Operation | None, status: int, content_type: str, body: bytes | None
    ) -> str | None:
        if status in OF_HTTP_ITSELF and operation is not None and not _is_json(operation):
            return None
        if status >= 400:
            return self._error_fault(operation, status, content_type, body)
        if operation is None:
            return None
        if str(status) not in operation.responses:
            return f"{operation.name} has no such status"
        described = operation.responses[str(status)]
        if JSON not in described:
            return None
        if body is None or content_type != JSON:
            return f"{content_type} instead of JSON"
        answer = orjson.loads(body)
        check = _response_validator(operation, str(status))
        fault = _first_error(check, answer) if check is not None else None
        if fault is None and operation.api == "client-server":
            fault = self._event_fault(answer)
        return fault

    def _error_fault(
        self, operation: Operation | None, status: int, content_type: str, body: bytes | None
    ) -> str | None:
        if content_type != JSON or body is None:
            return None if operation is None else f"{content_type} instead of a standard error"
        answer = orjson.loads(body)
        is_asking = status == 401 and isinstance(answer, dict) and "flows" in answer
        fault = _first_error(validator_of("auth_response" if is_asking else "error"), answer)
        if fault is None and operation is not None and status not in (401, 403, 404):
            check = str(status) in operation.responses and _response_validator(
                operation, str(status)
            )
            fault = _first_error(check, answer) if check else None
        return fault

    def _event_fault(self, answer: Any) -> str | None:
        for event in events_in(answer):
            fault = event_error(event)
            if fault is not None and event not in self.malformed:
                return f"{event['type']}: {fault} {orjson.dumps(event).decode()[:600]}"
        return None


def _is_json(operation: Operation) -> bool:
    return JSON in operation.responses.get("200", {})


def _first_error(check: Any, answer: Any) -> str | None:
    if check.is_valid(answer):
        return None
    for error in check.iter_errors(answer):
        place = "/".join(map(str, error.instance_path))
        return f"{place}: {error.message}"[:700]
    return None


@functools.cache
def contract() -> Contract:
    """The contract of this run."""
    return Contract()


@functools.cache
def by_key() -> dict[tuple[str, str], list[Operation]]:
    """The operations of each method and path without names; two are told apart by their bodies."""
    found: dict[tuple[str, str], list[Operation]] = defaultdict(list)
    for operation in operations():
        found[operation.key].append(operation)
    return dict(found)
