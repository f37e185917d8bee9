"""The error of an evaluation, which learns its position in the source on the way up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from step_runner.errors import ExpressionError
from step_runner.expression.nodes import Binary
from step_runner.expression.report import marked_error, quoted

if TYPE_CHECKING:
    from typing import Self

    from step_runner.expression.nodes import Node


class EvaluationError(Exception):
    """The computation of a value failed. It never leaves this package: `error` converts it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.node: Node | None = None

    def at(self, node: Node) -> Self:
        """Set the node at which the evaluation failed, unless an inner node is set; return this error."""
        self.node = self.node or node
        return self

    def error(self, source: str = "") -> ExpressionError:
        """Return the error for the user; `source` is the text that the node was read from."""
        if self.node is None:
            return ExpressionError(self.message, source)
        sentence = f'evaluating expression failed at "{quoted(source, self.node.start, self.node.end)}": {self.message}'
        if isinstance(self.node, Binary):
            start = self.node.operator_start
            return marked_error(sentence, source, start, start + len(self.node.operator))
        return marked_error(sentence, source, self.node.start, self.node.end)
