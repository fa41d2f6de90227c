"""What all shapes have in common.

Subclasses say ``frozen=True, kw_only=True`` again: type checkers do not see that it is inherited.
"""

from __future__ import annotations

import msgspec


class Shape(msgspec.Struct, kw_only=True, frozen=True):
    """A JSON object that the API answers with."""


class Sparse(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A JSON object that leaves out what has its default: for objects with many rare parts."""


class Input(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A JSON object that the API takes.  Unknown fields are refused: they are misspelt, mostly."""


class Empty(Shape, frozen=True, kw_only=True):
    """An answer that says nothing more than that it was done."""
