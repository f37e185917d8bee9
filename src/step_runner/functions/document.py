"""From text to YAML nodes, without recursion and within bounds: the text may be hostile."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

from step_runner.errors import FunctionFileError
from step_runner.functions.nodes import Entry, Listing, Mapping, Node, Scalar, place_of
from step_runner.functions.scalar import scalar_value
from step_runner.functions.syntax import HALF_A_PAIR, explain_character, explain_escape, explain_syntax
from step_runner.imports import plain_character_classes
from step_runner.model import Place, Problem, Struct

with plain_character_classes():  # yaml.reader compiles a check of characters in 4 ms, and CLoader does not use it
    import yaml
    from yaml.events import (
        AliasEvent,
        DocumentEndEvent,
        DocumentStartEvent,
        MappingStartEvent,
        ScalarEvent,
        SequenceStartEvent,
        StreamEndEvent,
        StreamStartEvent,
    )

if TYPE_CHECKING:
    from collections.abc import Callable


Loader = getattr(yaml, "CLoader", yaml.Loader)
SURROGATE_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
"""A character beyond U+FFFF as JSON writes it in ASCII: two escapes."""

Branch: TypeAlias = Listing | Mapping

MOST_LEVELS = 100
MOST_WEIGHT = 250_000
TAGS = "tag:yaml.org,2002:"
STRING_TAGS = frozenset({"!", TAGS + "str", TAGS + "timestamp"})
SCALAR_TAGS: dict[str, tuple[type, ...]] = {
    TAGS + "null": (type(None),),
    TAGS + "bool": (bool,),
    TAGS + "int": (int,),
    TAGS + "float": (int, float),
}
BRANCH_TAGS = {Listing: (None, "!", TAGS + "seq"), Mapping: (None, "!", TAGS + "map")}


class Documents(Struct, frozen=True):
    """The documents of a text, and the problems of repeated keys."""

    nodes: tuple[Node, ...]
    problems: tuple[Problem, ...]


def read_documents(text: str, file: str, most: int = 2) -> Documents:
    """Read at most `most` documents; ignore the text after them.

    Raise FunctionFileError if the text is not valid YAML or is nested deeper than 100 levels. Raise it also for more
    than 250,000 values with aliases expanded; of a long value each 64 characters count as one more.
    """
    composer = _Composer(text.removeprefix("\ufeff"), file)
    return Documents(nodes=composer.documents(most), problems=tuple(composer.problems))


class _Open:
    """A list or mapping that is being read; for a mapping also the key of the next value."""

    __slots__ = ("anchor", "branch", "key", "merge", "merges")

    def __init__(self, branch: Branch, anchor: str | None) -> None:
        self.branch = branch
        self.anchor = anchor
        self.key: Scalar | None = None
        self.merge: Scalar | None = None
        self.merges: list[Node] = []


class _Composer:
    """Builds nodes from the events of the YAML parser; keeps open lists and mappings on a stack of its own."""

    def __init__(self, text: str, file: str) -> None:
        self.problems: list[Problem] = []
        self._text = text
        self._file = file
        # The C parser refuses both halves of a pair. The slow Python parser accepts them as two characters.
        self._has_pairs = SURROGATE_PAIR.search(text) is not None
        self._loader = yaml.Loader if self._has_pairs else Loader
        self._open: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}
        self._root: Node | None = None

    def documents(self, most: int) -> tuple[Node, ...]:
        nodes: list[Node] = []
        try:
            next_event = self._loader(self._text).get_event
            while len(nodes) < most and (node := self._document(next_event)) is not None:
                nodes.append(node)
        except yaml.MarkedYAMLError as error:
            raise self._refused(*explain_syntax(error, self._text)) from None
        except (yaml.reader.ReaderError, UnicodeEncodeError):
            raise self._refused(*explain_character(self._text)) from None
        except (ValueError, OverflowError):  # from chr(), which the Python parser calls for an escape
            raise self._refused(*explain_escape(self._text)) from None

        return tuple(nodes)

    def _document(self, next_event: Callable[[], Any]) -> Node | None:
        """Return the next document, None at the end of the text."""
        self._root = None
        while True:
            event = next_event()
            kind = type(event)
            if kind is ScalarEvent:
                self._scalar(event)
            elif kind is MappingStartEvent:
                self._begin(event, Mapping(entries={}, **_position(event)))
            elif kind is SequenceStartEvent:
                self._begin(event, Listing(items=[], **_position(event)))
            elif kind is AliasEvent:
                self._alias(event)
            elif kind is StreamEndEvent:
                return None
            elif kind is DocumentEndEvent:
                return self._root
            elif kind is not DocumentStartEvent and kind is not StreamStartEvent:
                self._end()

    def _scalar(self, event: Any) -> None:
        mark = event.start_mark
        plain = event.implicit[0] and event.tag is None
        node = Scalar(event.value, plain, mark.line + 1, mark.column + 1, event.end_mark.line + 1)
        if self._has_pairs:
            node.text = self._with_whole_characters(node)
        if event.tag is not None:
            node.plain = self._is_plain(event.tag, node)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._add(node)

    def _with_whole_characters(self, node: Scalar) -> str:
        """Return the text of a value with each surrogate pair as one character."""
        try:
            return node.text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise self._refused_at(node, f"the text holds {HALF_A_PAIR}") from None

    def _is_plain(self, tag: str, node: Scalar) -> bool:
        """Return whether to read a value with a tag like one without quotes."""
        if tag in STRING_TAGS:
            return False
        if tag not in SCALAR_TAGS:
            raise self._unknown_tag(tag, node)
        if not isinstance(scalar_value(node.text), SCALAR_TAGS[tag]):
            raise self._refused_at(node, f'"{node.text[:40]}" is not a valid value for the tag "{_short(tag)}"')
        return True

    def _begin(self, event: Any, branch: Branch) -> None:
        if event.tag not in BRANCH_TAGS[type(branch)]:
            raise self._unknown_tag(event.tag, branch)
        if len(self._open) >= MOST_LEVELS:
            raise self._too_deep(branch)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._open.append(_Open(branch, event.anchor))

    def _end(self) -> None:
        ended = self._open.pop()
        for node in ended.merges:
            self._merge(ended.branch, node)
        if ended.anchor is not None:
            self._anchors[ended.anchor] = ended.branch
        self._add(ended.branch)

    def _alias(self, event: Any) -> None:
        line, column, name = event.start_mark.line + 1, event.start_mark.column + 1, str(event.anchor)
        if name not in self._anchors:
            advice = f'no anchor "&{name}" precedes it; put the value in quotes if it is a text'
            raise self._refused(line, column, f'"*{name}" refers to another value, but {advice}')
        node = self._anchors[name]
        if node is None:
            raise self._refused(line, column, f'"*{name}" is inside the value that it refers to: remove it')
        mapping = self._open[-1] if self._open and isinstance(self._open[-1].branch, Mapping) else None
        if isinstance(node, Scalar) and mapping is not None and mapping.key is None:
            node = Scalar(node.text, node.plain, line, column, line)
        self._add(node)

    def _add(self, node: Node) -> None:
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        branch = parent.branch
        self._weigh(branch, node)
        if isinstance(branch, Listing):
            branch.items.append(node)
        elif parent.key is None:
            parent.key = self._key(node)
        else:
            key, parent.key = parent.key, None
            self._add_entry(parent, branch, key, node)

    def _key(self, node: Node) -> Scalar:
        if isinstance(node, Scalar):
            return node
        what = "a list" if isinstance(node, Listing) else "a mapping"
        raise self._refused_at(node, f"a key is {what}, not a text; put text with braces in quotes")

    def _add_entry(self, parent: _Open, branch: Mapping, key: Scalar, node: Node) -> None:
        if key.text == "<<" and key.plain:
            self._add_merge(parent, key, node)
        elif key.text in branch.entries:
            first = branch.entries[key.text].key
            self._report(key, f'"{key.text[:60]}" is given twice, here and in line {first.line}; remove one of them')
        else:
            branch.entries[key.text] = Entry(key, node)

    def _add_merge(self, parent: _Open, key: Scalar, node: Node) -> None:
        if parent.merge is not None:
            advice = "merge a list: <<: [*first, *second]"
            self._report(key, f'"<<" is given twice, here and in line {parent.merge.line}; {advice}')
        parent.merge = key
        parent.merges.append(node)

    def _merge(self, branch: Branch, node: Node) -> None:
        """Add the keys of `<<` that the mapping does not have itself; of several values the first one counts."""
        assert isinstance(branch, Mapping)
        for source in node.items if isinstance(node, Listing) else [node]:
            if not isinstance(source, Mapping):
                raise self._refused_at(source, 'only a mapping can be merged with "<<"')
            self._weigh(branch, source)
            for text, entry in source.entries.items():
                branch.entries.setdefault(text, entry)

    def _weigh(self, branch: Branch, node: Node) -> None:
        branch.weight += node.weight
        if branch.weight > MOST_WEIGHT:
            message = f"the text holds more than {MOST_WEIGHT} values with all aliases expanded; split it"
            raise self._refused_at(node, message)
        if not isinstance(node, Scalar) and node.height >= branch.height:
            branch.height = node.height + 1
            if branch.height + len(self._open) > MOST_LEVELS + 1:
                raise self._too_deep(node)

    def _report(self, node: Node, message: str) -> None:
        if len(self.problems) < MOST_LEVELS:
            self.problems.append(Problem(place=place_of(node, self._file), message=message))

    def _unknown_tag(self, tag: str | None, node: Node) -> FunctionFileError:
        message = f'the tag "{_short(tag or "")}" is not valid here; remove it, or put the value in quotes'
        return self._refused_at(node, message)

    def _too_deep(self, node: Node) -> FunctionFileError:
        message = f"values are nested deeper than {MOST_LEVELS} levels; make them flatter"
        return self._refused_at(node, message)

    def _refused_at(self, node: Node, message: str) -> FunctionFileError:
        return self._refused(node.line, node.column, message)

    def _refused(self, line: int, column: int, message: str) -> FunctionFileError:
        place = Place(file=self._file, line=line, column=column)
        return FunctionFileError((*self.problems, Problem(place=place, message=message)))


def _position(event: Any) -> dict[str, int]:
    return {"line": event.start_mark.line + 1, "column": event.start_mark.column + 1}


def _short(tag: str) -> str:
    return tag.replace(TAGS, "!!")[:60]
