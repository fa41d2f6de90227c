"""Bundle the machine-readable part of the Matrix specification for the tests.

    python -m tools.bundle_matrix_spec ../shared/matrix-spec/data

writes ``tests/spec/matrix.json``: every operation (parameters, bodies, answers), every event's
schema, and the schemas that they refer to, without prose and examples.  The source is the Matrix
specification, https://github.com/matrix-org/matrix-spec, Copyright The Matrix.org Foundation C.I.C.
and contributors, licensed under the Apache License 2.0.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

TARGET = Path(__file__).parent.parent / "tests" / "spec" / "matrix.json"
LICENCE = (
    "From the Matrix specification (https://github.com/matrix-org/matrix-spec), Copyright The "
    "Matrix.org Foundation C.I.C. and contributors, Apache License 2.0 "
    "(https://www.apache.org/licenses/LICENSE-2.0). Bundled by tools/bundle_matrix_spec.py; prose "
    "and examples are left out."
)
APIS = ("client-server", "server-server", "application-service", "push-gateway")
METHODS = ("get", "put", "post", "delete", "patch", "head")
PROSE = frozenset(
    ("title", "description", "summary", "example", "examples", "$schema", "externalDocs", "tags")
)
MAPS = frozenset(
    ("properties", "patternProperties", "headers", "responses", "content", "callbacks")
)
"""Beneath these the keys are names, and none is prose."""


class Bundle:
    """What was gathered so far."""

    def __init__(self, data: Path) -> None:
        self._data = data.resolve()
        self._documents: dict[Path, Any] = {}
        self._names: dict[tuple[Path, str], str] = {}
        self.operations: list[dict[str, Any]] = []
        self.events: dict[str, Any] = {}
        self.schemas: dict[str, Any] = {}

    def add_api(self, api: str) -> None:
        """Every operation of an API."""
        for path in sorted((self._data / "api" / api).glob("*.yaml")):
            document = self._load(path)
            base = document["servers"][0]["variables"]["basePath"]["default"]
            for route, entry in document["paths"].items():
                shared = self._trim(entry.get("parameters", []), path)
                for method in METHODS:
                    if method in entry:
                        operation = self._trim(entry[method], path)
                        self._add_operation(api, method, base + route, operation, shared)

    def add_events(self) -> None:
        """Every event's schema: by its type and, after a ``$``, its msgtype or method."""
        for path in sorted((self._data / "event-schemas" / "schema").glob("*.yaml")):
            self.events[path.stem] = self._reference(path, "")

    def _add_operation(
        self, api: str, method: str, path: str, operation: dict[str, Any], shared: list[Any]
    ) -> None:
        answers = {
            status: answer.get("content", {}) for status, answer in operation["responses"].items()
        }
        self.operations.append(
            {
                "id": operation["operationId"],
                "api": api,
                "method": method.upper(),
                "path": path.strip(),
                "deprecated": operation.get("deprecated", False),
                "authenticated": bool(operation.get("security")),
                "parameters": shared + operation.get("parameters", []),
                "request": operation.get("requestBody", {}).get("content", {}),
                "required": operation.get("requestBody", {}).get("required", False),
                "responses": answers,
            }
        )

    def _load(self, path: Path) -> Any:
        if path not in self._documents:
            self._documents[path] = yaml.safe_load(path.read_text("utf-8"))
        return self._documents[path]

    def _trim(self, value: Any, path: Path, *, names: bool = False) -> Any:
        """A value without prose, its references pointing into the bundle."""
        if isinstance(value, list):
            return [self._trim(item, path) for item in value]
        if not isinstance(value, dict):
            return value
        if not names and isinstance(value.get("$ref"), str):
            found = self._follow(value["$ref"], path)
            rest = {key: item for key, item in value.items() if key != "$ref"}
            return {**found, **self._trim(rest, path)}
        return {
            key: self._trim(item, path, names=not names and key in MAPS)
            for key, item in value.items()
            if names or not (key in PROSE or str(key).startswith("x-"))
        }

    def _follow(self, reference: str, path: Path) -> Any:
        file, _, pointer = reference.partition("#")
        target = (path.parent / file).resolve() if file else path
        if pointer and not pointer.startswith("/components/schemas/"):
            return self._trim(self._at(target, pointer), target)  # a parameter, an answer
        return self._reference(target, pointer)

    def _reference(self, path: Path, pointer: str) -> dict[str, str]:
        """A reference to a schema, which is taken along."""
        key = path, pointer
        if key not in self._names:
            self._names[key] = name = self._new_name(path, pointer)
            self.schemas[name] = {}  # it may refer to itself
            self.schemas[name] = self._trim(self._at(path, pointer), path)
        return {"$ref": f"#/components/schemas/{self._names[key]}"}

    def _new_name(self, path: Path, pointer: str) -> str:
        parts = [*path.relative_to(self._data).with_suffix("").parts]
        last = ".".join(filter(None, (parts.pop(), pointer.rpartition("/")[2]))).replace("$", "-")
        while last in self.schemas:
            last = f"{parts.pop()}.{last}"
        return last

    def _at(self, path: Path, pointer: str) -> Any:
        value = self._load(path)
        for step in filter(None, pointer.split("/")):
            value = value[step]
        return value


def compact(bundle: Bundle) -> str:
    """JSON with a line for each operation, event and schema, so that changes can be read."""

    def dump(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    def lines(entries: dict[str, Any]) -> str:
        return ",\n".join(f"{dump(name)}:{dump(entry)}" for name, entry in sorted(entries.items()))

    operations = ",\n".join(dump(operation) for operation in bundle.operations)
    return (
        f'{{"licence":{dump(LICENCE)},\n"operations":[\n{operations}\n],\n'
        f'"events":{{\n{lines(bundle.events)}\n}},\n'
        f'"components":{{"schemas":{{\n{lines(bundle.schemas)}\n}}}}}}\n'
    )


def main() -> None:
    """Write the bundle of the directory that is given."""
    bundle = Bundle(Path(sys.argv[1]))
    for api in APIS:
        bundle.add_api(api)
    bundle.add_events()
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(compact(bundle), "utf-8")
    counts = f"{len(bundle.operations)} operations, {len(bundle.events)} events"
    print(f"{TARGET}: {counts}, {len(bundle.schemas)} schemas")


if __name__ == "__main__":
    main()
