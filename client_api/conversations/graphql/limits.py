"""What one GraphQL request may ask for: how deep, how much.

A field costs one, a list the cost of its items as often as ``first`` or ``limit`` says.  Each
fragment is measured once, however often it is spread: otherwise fragments within fragments would
take longer to measure than to answer, which is why strawberry's own limiters are not used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValidationContext,
    ValidationRule,
    VariableNode,
)
from strawberry.extensions import (
    AddValidationRules,
    MaxTokensLimiter,
    SchemaExtension,
)

MAX_DEPTH = 14
MAX_TOKENS = 2_000
MAX_COST = 10_000
USUAL_PAGE = 50
LENGTHS = ("first", "last", "limit")
MOST_OF_A_PAGE = 100
LISTS = {"edges", "nodes", "items"}
# The schema is data, too: a hundred aliases of all its types take seconds.  The query that tools
# read it with costs some 240,000.
LENGTHS_IN_SCHEMA = {"types": 200, "fields": 8, "inputFields": 8, "args": 2, "enumValues": 4}
MAX_SCHEMA_COST = 300_000

Size = tuple[int, int]  # cost, depth
NOTHING: Size = (0, 0)


class SizeRule(ValidationRule):
    """Refuses queries that are too deep or ask for too much, before anything is loaded."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        fragments = {
            node.name.value: node
            for node in context.document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        self._data = _Measure(fragments, _length, MAX_COST)
        self._schema = _Measure(fragments, _length_in_schema, MAX_SCHEMA_COST)

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
        """Measure one operation."""
        cost, depth = self._data.size(node.selection_set)
        if cost > MAX_COST:
            self._refuse(node, f"The query asks for too much: its cost is over {MAX_COST}")
        elif depth > MAX_DEPTH:
            self._refuse(node, f"The query is too deep: over {MAX_DEPTH} levels")
        elif self._schema.size(node.selection_set)[0] > MAX_SCHEMA_COST:
            self._refuse(node, "The query asks for too much of the schema: GET it as a text")

    def _refuse(self, node: OperationDefinitionNode, text: str) -> None:
        extensions = {"code": "query_too_large"}
        self.report_error(GraphQLError(text, nodes=[node], extensions=extensions))


class _Measure:
    """Adds up what fields cost.  ``length``: how many items a field may bring."""

    def __init__(
        self,
        fragments: Mapping[str, FragmentDefinitionNode],
        length: Callable[[FieldNode], int],
        most: int,
    ) -> None:
        self._fragments = fragments
        self._length = length
        self._most = most
        self._sizes: dict[str, Size] = {}

    def size(self, selected: SelectionSetNode | None) -> Size:
        """What some fields cost together, and how deep they are nested."""
        if selected is None:
            return NOTHING
        total, deepest = NOTHING
        for node in selected.selections:
            if isinstance(node, FieldNode):
                cost, depth = self.size(node.selection_set)
                cost, depth = 1 + self._length(node) * cost, depth + 1
                if node.name.value.startswith("__"):
                    depth = 0  # how deep types are nested is no matter
            elif isinstance(node, FragmentSpreadNode):
                cost, depth = self._fragment(node.name.value)
            else:
                cost, depth = self.size(getattr(node, "selection_set", None))
            total, deepest = min(total + cost, self._most + 1), max(deepest, depth)
        return total, deepest

    def _fragment(self, name: str) -> Size:
        known = self._sizes.get(name)
        if known is None:
            self._sizes[name] = NOTHING  # one that spreads itself is refused by another rule
            fragment = self._fragments.get(name)
            known = self.size(fragment.selection_set) if fragment is not None else NOTHING
            self._sizes[name] = known
        return known


def _length_in_schema(node: FieldNode) -> int:
    """How many items a field of the schema has, about."""
    return LENGTHS_IN_SCHEMA.get(node.name.value, 1)


def _length(node: FieldNode) -> int:
    """How many items a field may bring."""
    for argument in node.arguments or ():
        if argument.name.value in LENGTHS:
            if isinstance(argument.value, IntValueNode):
                return min(max(int(argument.value.value), 1), MOST_OF_A_PAGE)
            if isinstance(argument.value, VariableNode):
                return MOST_OF_A_PAGE
    selected = node.selection_set.selections if node.selection_set is not None else ()
    names = {inner.name.value for inner in selected if isinstance(inner, FieldNode)}
    return USUAL_PAGE if names & LISTS else 1


EXTENSIONS: tuple[Callable[[], SchemaExtension], ...] = (
    partial(MaxTokensLimiter, max_token_count=MAX_TOKENS),
    partial(AddValidationRules, [SizeRule]),
)
