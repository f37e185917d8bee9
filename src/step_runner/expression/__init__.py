"""The expression language: `${{ inputs.name }}` in the texts and values of step files."""

from step_runner.expression.parser import parse
from step_runner.expression.template import escape_template, expand, expand_text, has_expression
from step_runner.expression.values import Unwritten, is_secret, reveal
from step_runner.model import Secret

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
