"""Structs and dataclasses each take their own ``field()``: the other's would become a value."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator

import msgspec

import client_api
import federation
import homeserver


def structs(base: type = msgspec.Struct) -> Iterator[type]:
    """All structs that are defined."""
    for struct in base.__subclasses__():
        yield struct
        yield from structs(struct)


def test_no_default_of_a_struct_is_what_describes_a_field_of_a_dataclass() -> None:
    for package in (homeserver, federation, client_api):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)

    found = [
        s.__qualname__
        for s in structs()
        for d in s.__struct_defaults__
        if isinstance(d, dataclasses.Field)
    ]

    assert found == []
    assert len(list(structs())) > 500
