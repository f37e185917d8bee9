"""Explains why a text is not valid YAML, and what to write instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import yaml

Explained: TypeAlias = tuple[int, int, str]
"""Line and column, counted from 1, and a sentence."""

UNREADABLE = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
"""The pattern of a character that YAML does not allow. Compiling takes 4 ms, so only an invalid text does it."""

GLUED_DASH = re.compile(r"\s*-(\w+)")
WRONG_ESCAPE = re.compile(r"\\U(?!0010|000[0-9a-fA-F])")
HALF_A_PAIR = 'half of a surrogate pair, such as "\\ud83d" without "\\ude00": write both halves'
TAB = "a tab cannot be used for indentation; use spaces"
ENDS_EARLY = "the text ends where a value must follow; close every bracket, brace and quote"
FIXED = (
    # libyaml since 0.2.6 has its own limit. It is far above ours, but its scanner can reach it first.
    ("maximum nesting depth", "values are nested deeper than 100 levels; make them flatter"),
    ("tab character", TAB),
    ("block sequence entries", 'a list item is not valid here: put each "- item" on a line of its own'),
    ("mapping keys are not allowed", 'a value cannot begin with "? "; put it in quotes'),
    ("alphabetic or numeric", 'a value that begins with "*" or "&" must be in quotes'),
    ("comment or line break", 'only a comment may follow "|" or ">"; put the text on the next lines and indent it'),
    ("directive", 'a line that begins with "%" is a YAML directive; put it in quotes or indent it'),
    ("tag", 'a value that begins with "!" must be in quotes'),
    ("document start", "this line belongs to no key above; check the indentation, or end the document with ---"),
)


def explain_syntax(error: yaml.MarkedYAMLError, text: str) -> Explained:
    """Return where the text cannot be read, and a sentence that says what to do there."""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return 1, 1, _unexplained(error)
    line = _line(text, mark.line)
    start = error.context_mark or mark
    problem = f"{error.context or ''} {error.problem or ''}"
    if "quoted scalar" in problem and "escape" not in problem:
        return start.line + 1, start.column + 1, "the quotes that are opened here are not closed; close them"
    if "Unicode character escape" in problem:
        first = mark.column - len("\\u")  # the mark is after the letter
        escape = line[first : first + len("\\U00000000")]
        half = f'"{escape[:6]}" is {HALF_A_PAIR}' if escape.startswith("\\u") else ""
        return mark.line + 1, first + 1, half or _not_a_character(escape)
    if "could not find expected ':'" in problem:
        return start.line + 1, start.column + 1, _missing_colon(_line(text, start.line)[start.column :])
    sentence = (
        _at_character(problem, line[mark.column : mark.column + 2])
        or _at_structure(problem, text, start, mark)
        or next((sentence for words, sentence in FIXED if words in problem), None)
        or _unexplained(error)
    )
    return *_within(text, mark), sentence


def explain_character(text: str) -> Explained:
    """Return the place of the first character that YAML does not allow, and a sentence about it."""
    found = re.search(UNREADABLE, text)
    if found is None:
        return 1, 1, "the text holds a character that YAML does not allow; remove it"
    message = f'the character U+{ord(found.group()):04X} is not allowed; remove it or write "\\u" and its number'
    return *_position(text, found.start()), message


def explain_escape(text: str) -> Explained:
    """Return the place of the first escape that is not a valid character, and a sentence about it."""
    found = WRONG_ESCAPE.search(text)
    start = 0 if found is None else found.start()
    escape = text[start : start + len("\\U00000000")]
    return *_position(text, start), _not_a_character(escape)


def _position(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _within(text: str, mark: yaml.Mark) -> tuple[int, int]:
    """Return line and column of a mark; a mark after the last line break becomes the end of the last line."""
    lines = text.splitlines()
    if mark.line < len(lines) or not lines:
        return mark.line + 1, mark.column + 1
    return len(lines), len(lines[-1]) + 1


def _not_a_character(escape: str) -> str:
    return f'"{escape}" is not a valid escape: no character has this number'


def _at_character(problem: str, rest: str) -> str | None:
    first = rest[:1]
    if "cannot start any token" in problem:
        return TAB if first == "\t" else f'a value cannot begin with "{first}"; put it in quotes'
    if "escape" in problem:
        return f'"{rest}" is not a valid escape: write "\\\\" for a backslash, or use single quotes'
    if "node content" in problem:
        return f'"{first}" is not valid here: put the value in quotes, or remove it' if first else ENDS_EARLY
    return None


def _at_structure(problem: str, text: str, start: yaml.Mark, mark: yaml.Mark) -> str | None:
    line = _line(text, mark.line)
    before = line[: mark.column]
    if "flow sequence" in problem or "flow mapping" in problem:
        return _unclosed(text, start, mark)
    if "mapping values are not allowed" in problem:
        return _misplaced_colon(before, _line(text, mark.line - 1))
    if "-' indicator" in problem or "block collection" in problem:
        if dash := GLUED_DASH.match(line):
            return f'a blank is missing after the dash; write "- {dash[1]}"'
        advice = f'begin it with "- " like the list in line {start.line + 1}, or line it up with the keys above'
        return f"this line is not an item of the list that it is indented for: {advice}"
    if "expected key" in problem or "block mapping" in problem:
        return _misplaced_line(line[mark.column : mark.column + 1], before, start)
    return None


def _unclosed(text: str, start: yaml.Mark, mark: yaml.Mark) -> str:
    lines = text.splitlines()[start.line : mark.line + 1]
    opening = lines[0][start.column : start.column + 1] if lines else "["
    if "${{" in "\n".join(lines):
        return "put text with ${{ }} in quotes when it is inside of [ ] or { }"
    closing = {"[": "]", "{": "}"}.get(opening, "]")
    return f'"{opening}" of line {start.line + 1} is not closed; add "{closing}", or "," between two items'


def _misplaced_colon(before: str, previous: str) -> str:
    if re.search(r":\s", before):
        return 'a second ": " in one line; put the value in quotes'
    if dash := GLUED_DASH.match(previous):
        return f'a blank is missing after the dash in the line before; write "- {dash[1]}"'
    return "this line is indented deeper than the key before it: line it up with the lines before"


def _misplaced_line(character: str, before: str, start: yaml.Mark) -> str:
    if character and character in "]}":
        return f'"{character}" has no opening bracket; remove it'
    if "'" in before or '"' in before:
        return "text follows the closing quotes; put quotes around the whole value"
    advice = f"line it up with line {start.line + 1}, column {start.column + 1}, or indent it as a value"
    return f"the indentation of this line fits none of the lines before; {advice}"


def _missing_colon(key: str) -> str:
    name = key.strip()[:40]
    return f'a ":" is missing after "{name}"; write "{name}: value", or indent the line as part of the value before'


def _unexplained(error: yaml.MarkedYAMLError) -> str:
    return f"this is not valid YAML, {error.problem or 'and it is not known why'}; check indentation and quotes"


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number] if 0 <= number < len(lines) else ""
