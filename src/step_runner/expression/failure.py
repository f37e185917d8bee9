"""Why an expression has no value, before it is known where that was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from step_runner.errors import ExpressionError
from step_runner.expression.nodes import Binary
from step_runner.expression.report import located_error

if TYPE_CHECKING:
    from typing import Self

    from step_runner.expression.nodes import Node


class EvaluationError(Exception):
    """Raised where values are computed; never leaves this package, see `error`."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.node: Node | None = None

    def at(self, node: Node) -> Self:
        """The same failure, at the innermost node that it is said to be at."""
        self.node = self.node or node
        return self

    def error(self, source: str = "") -> ExpressionError:
        """What a person is told, given the text that the node was read from."""
        if self.node is None:
            return ExpressionError(self.message, source)
        span = self.node.start, self.node.end
        return located_error(source, span, _marked(self.node), self.message)


def _marked(node: Node) -> tuple[int, int]:
    if isinstance(node, Binary):
        return node.operator_start, node.operator_start + len(node.operator)
    return node.start, node.end
