"""What is small stays small: functions that can be seen whole, modules that can be read at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("homeserver", "federation", "client_api", "migrations")
BESIDE = ("tests", "tools", "benchmarks")
LONGEST_FUNCTION = 70
LONGEST_MODULE = 500
UNFINISHED = ("TODO", "FIXME", "XXX", "NotImplementedError")


def modules(*packages: str) -> Iterator[tuple[Path, str]]:
    for package in packages or PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT), path.read_text("utf-8")


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{path}:{node.lineno} {node.name}"
        for path, text in modules()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno > LONGEST_FUNCTION
    ]

    assert long == []


def test_no_module_is_too_long_to_read_at_once() -> None:
    every = modules(*PACKAGES, *BESIDE)

    long = [str(path) for path, text in every if text.count("\n") > LONGEST_MODULE]

    assert long == []


def test_nothing_is_left_for_later() -> None:
    marks = [
        f"{path}:{number}"
        for path, text in modules()
        for number, line in enumerate(text.splitlines(), 1)
        if any(word in line for word in UNFINISHED)
    ]

    assert marks == []


def test_every_public_function_says_what_it_does() -> None:
    silent = [
        f"{path}:{node.lineno} {node.name}"
        for path, text in modules()
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and ast.get_docstring(node) is None
    ]

    assert silent == []
