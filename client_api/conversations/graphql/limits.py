"""What one GraphQL request may ask for: how deep, how much.

A field costs one, a list the cost of its items as often as ``first`` or ``limit`` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValidationContext,
    ValidationRule,
    VariableNode,
)
from strawberry.extensions import (
    AddValidationRules,
    MaxAliasesLimiter,
    MaxTokensLimiter,
    QueryDepthLimiter,
    SchemaExtension,
)

MAX_DEPTH = 12
MAX_TOKENS = 2_000
MAX_ALIASES = 30
MAX_COST = 10_000
USUAL_PAGE = 50
LENGTHS = ("first", "last", "limit")
MOST_OF_A_PAGE = 100


class CostRule(ValidationRule):
    """Refuses queries that ask for too much, before anything is loaded."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        self._fragments: dict[str, FragmentDefinitionNode] = {
            node.name.value: node
            for node in context.document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
        """Count one operation."""
        cost = self._cost(node.selection_set, ())
        if cost > MAX_COST:
            self.report_error(
                GraphQLError(
                    f"The query asks for too much: its cost is over {MAX_COST}",
                    nodes=[node],
                    extensions={"code": "query_too_large"},
                )
            )

    def _cost(self, selected: SelectionSetNode | None, within: tuple[str, ...]) -> int:
        if selected is None:
            return 0
        cost = 0
        for node, inside in self._fields(selected, within):
            cost += 1 + _length(node) * self._cost(node.selection_set, inside)
            if cost > MAX_COST:
                break
        return cost

    def _fields(
        self, selected: SelectionSetNode, within: tuple[str, ...]
    ) -> Iterator[tuple[FieldNode, tuple[str, ...]]]:
        for node in selected.selections:
            if isinstance(node, FieldNode):
                yield node, within
            elif isinstance(node, InlineFragmentNode):
                yield from self._fields(node.selection_set, within)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in within:
                fragment = self._fragments.get(node.name.value)
                if fragment is not None:  # else another rule says so
                    inside = (*within, node.name.value)
                    yield from self._fields(fragment.selection_set, inside)


def _length(node: FieldNode) -> int:
    """How many items a field may bring."""
    for argument in node.arguments or ():
        if argument.name.value in LENGTHS:
            if isinstance(argument.value, IntValueNode):
                return min(max(int(argument.value.value), 1), MOST_OF_A_PAGE)
            if isinstance(argument.value, VariableNode):
                return MOST_OF_A_PAGE
    names = {n.name.value for n in getattr(node.selection_set, "selections", ()) if _named(n)}
    return USUAL_PAGE if names & {"edges", "nodes", "items"} else 1


def _named(node: Any) -> bool:
    return isinstance(node, FieldNode)


EXTENSIONS: tuple[Callable[[], SchemaExtension], ...] = (
    partial(MaxTokensLimiter, max_token_count=MAX_TOKENS),
    partial(MaxAliasesLimiter, max_alias_count=MAX_ALIASES),
    partial(QueryDepthLimiter, max_depth=MAX_DEPTH),
    partial(AddValidationRules, [CostRule]),
)
