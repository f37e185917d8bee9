"""The expression language: `${{ inputs.name }}` in the texts and values of step files."""

from step_runner.expression.parser import parse
from step_runner.expression.template import escape_template, expand, expand_text, has_expression
from step_runner.expression.values import Secret, Unwritten, is_secret, reveal

__all__ = [
    "Secret",
    "Unwritten",
    "escape_template",
    "expand",
    "expand_text",
    "has_expression",
    "is_secret",
    "parse",
    "reveal",
]
