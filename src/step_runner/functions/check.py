"""Finds the problems of step files and the local functions that they call, without running anything.

A package that offers a called function is imported, in a process of its own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import UNSET

from step_runner.errors import FetchError, FunctionFileError
from step_runner.expression import has_expression
from step_runner.functions.expressions import read_expressions
from step_runner.functions.loader import Reading, read_file, read_function, read_run_list
from step_runner.functions.nodes import (
    Listing,
    Mapping,
    Node,
    Scalar,
    child,
    find,
    kind_of,
    place_of,
    value_of,
)
from step_runner.functions.position import place_within
from step_runner.functions.resolution import local_directory, shown_path
from step_runner.functions.scope import Names, Scope
from step_runner.functions.source import FILES, find_file
from step_runner.functions.types import findings, sources
from step_runner.model import (
    Builtin,
    Exec,
    Function,
    Local,
    Place,
    Problem,
    Sequence,
    Spec,
    Step,
    ValueType,
    type_of,
)
from step_runner.paths import tidy
from step_runner.spelling import meant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


DEEPEST_CALLS = 100
MOST_PROBLEMS = 1000

SHELL_FUNCTIONS = ("script", "script_legacy")
"""The builtin functions whose input `script` a shell runs."""

EXECUTED = (ValueType.STRING, ValueType.ARRAY, ValueType.STRUCT)
"""The types of inputs that may hold a text with `$(...)`; a shell would run it."""


def check(paths: Iterable[str | os.PathLike[str]], *, missing_functions_may_come: bool = False) -> tuple[Problem, ...]:
    """Return all problems of step files and of the local functions they call. Check each file once. Raise nothing.

    A file that cannot be read is a problem at its first character. A file yields at most 1000 problems with calls and
    expressions, in the order of the file. With `missing_functions_may_come`, a missing function is only a warning if
    an earlier step can make it.
    """
    checker = _Checker(missing_functions_may_come=missing_functions_may_come)
    for path in map(_step_file, paths):
        checker.check_file(tidy(os.path.join(os.getcwd(), path)), path)
    return checker.sorted_problems()


def check_text(
    text: str, *, file: str, directory: str = "", bare: bool = False, missing_functions_may_come: bool = False
) -> tuple[Problem, ...]:
    """Return all problems of the text of a step file, or of a `bare` list of steps, and of the functions it calls.

    Treat a function that does not exist as `check` does.
    """
    checker = _Checker(file, missing_functions_may_come=missing_functions_may_come)
    read = read_run_list if bare else read_function
    try:
        reading = read(text, file=file, directory=directory)
    except FunctionFileError as error:
        return error.problems
    checker.check_reading(reading)
    return checker.sorted_problems()


def check_function(reference: Local) -> tuple[Problem, ...]:
    """Return all problems of a function on this machine and of those that it calls, as `check` does.

    A function that an earlier step may make is only a warning. Raise FetchError if there is no such function.
    """
    directory = local_directory(reference, "")
    find_file(directory, reference.file, shown_path(directory))
    return check([os.path.join(reference.path, reference.file or "")], missing_functions_may_come=True)


class _Checker:
    """Reads each file once and follows its calls; `_chain` holds the files from the first to the current one."""

    def __init__(self, *files: str, missing_functions_may_come: bool) -> None:
        self.something_ran = False
        self.missing_functions_may_come = missing_functions_may_come
        self._problems: list[Problem] = []
        self._files = list(files)
        self._checked: dict[str, tuple[Function | None, Names]] = {}
        self._builtins: dict[str, Spec] = {}
        self._chain: list[str] = []

    def sorted_problems(self) -> tuple[Problem, ...]:
        """Return the problems file by file, in the order of each file."""
        order = {file: index for index, file in enumerate(self._files)}
        return tuple(sorted(self._problems, key=lambda one: (order[one.place.file], one.place.line, one.place.column)))

    def check_file(self, path: str, shown_as: str) -> None:
        """Check a file, unless it was checked before."""
        if path in self._checked:
            return
        self._checked[path] = None, None
        self._files.append(shown_as)
        try:
            reading = read_file(path, shown_as)
        except FunctionFileError as error:
            self._problems.extend(error.problems)
            return
        except FetchError as error:
            message = str(error).removeprefix(f"{shown_as}: ")
            self._problems.append(Problem(place=Place(file=shown_as, line=1, column=1), message=message))
            return
        self._chain.append(path)
        self._checked[path] = reading.function, self.check_reading(reading)
        self._chain.pop()

    def check_reading(self, reading: Reading) -> Names:
        """Check what was read. Return the names of the function's outputs."""
        self._problems.extend(reading.problems)
        if reading.function is None:
            return None
        check = _FunctionCheck(self, reading, reading.function)
        outputs = check.run()
        self._problems.extend(check.problems)
        return outputs

    def call(self, path: str) -> tuple[Function | None, Names]:
        """Return the function in a file, and its outputs. Check it first if it is new.

        Raise FetchError if the calls would never end.
        """
        if path in self._chain:
            chain = [*self._chain[self._chain.index(path) :], path]
            names = " calls ".join(map(shown_path, chain))
            raise FetchError(f"the function calls itself without end: {names}; remove one of the calls")
        if len(self._chain) >= DEEPEST_CALLS:
            raise FetchError(f"functions call each other deeper than {DEEPEST_CALLS} levels; make them flatter")
        self.check_file(path, shown_path(path))
        return self._checked[path]

    def builtin(self, name: str) -> Spec:
        """Return the inputs and outputs of a builtin function. Raise FetchError if it is missing or unusable."""
        from step_runner.builtin.function import spec
        from step_runner.proc import Proc

        if name not in self._builtins:
            self._builtins[name] = spec(name, Proc(0))
        return self._builtins[name]


class _FunctionCheck:
    """Checks one function: its calls, and the names in its expressions."""

    def __init__(self, checker: _Checker, reading: Reading, function: Function) -> None:
        self.problems: list[Problem] = []
        self._checker = checker
        self._function = function
        self._node = reading.definition
        self._text = reading.text
        self._lines: list[str] | None = None
        self._inputs = function.spec.inputs

    def run(self) -> Names:
        """Check every part in the order of running. Return the names of the outputs."""
        self._expressions(child(self._node, "env"), Scope(inputs=self._inputs))
        match self._function.body:
            case Exec():
                self._expressions(child(self._node, "exec"), Scope(inputs=self._inputs))
                return self._declared()
            case Sequence() as body:
                return self._sequence(body)

    def _declared(self) -> Names:
        outputs = self._function.spec.outputs
        return None if isinstance(outputs, str) else outputs

    def _sequence(self, body: Sequence) -> Names:
        ran: dict[str, Names] = {}
        scope = Scope(inputs=self._inputs, steps=ran, all_steps=frozenset(step.name for step in body.steps))
        items = self._node if isinstance(self._node, Listing) else find(self._node, "run")
        for index, step in enumerate(body.steps):
            item = find(items, index)
            if step.name in ran:
                hidden = f'there is a step "{step.name}" above, whose outputs this one hides; give it another name'
                self._error(child(item, "name") or item, hidden, warning=True)
            ran[step.name] = self._outputs_of(step, item, scope)
            self._checker.something_ran = True
        self._expressions(child(self._node, "outputs"), scope)
        if body.delegate is not None:
            return ran.get(body.delegate)
        self._sequence_outputs(self._function.spec)
        return self._declared()

    def _outputs_of(self, step: Step, item: Node, scope: Scope) -> Names:
        """Check one step. Return the names of its outputs."""
        for key in ("func", "step", "script", "inputs", "env"):
            self._expressions(child(item, key), scope)
        for script in _scripts(step, item):
            self._inputs_in_script(script, scope)
        called = child(item, "func") or child(item, "step") or item
        if isinstance(step.call, Builtin):
            return self._outputs_of_builtin(step, step.call, item, called)
        if not isinstance(step.call, Local):
            return None
        directory = local_directory(step.call, self._function.directory)
        try:
            path = find_file(directory, step.call.file, shown_path(directory))
        except FetchError as error:
            may_come = self._checker.missing_functions_may_come and self._checker.something_ran
            reason = "an earlier step must make this function: " if may_come else ""
            self._error(called, f"{reason}{error}", warning=may_come)
            return None
        try:
            function, outputs = self._checker.call(path)
        except FetchError as error:
            self._error(called, str(error))
            return None
        if function is not None:
            self._call(step, item, called, function.spec)
        return outputs

    def _outputs_of_builtin(self, step: Step, reference: Builtin, item: Node, called: Node) -> Names:
        from step_runner.builtin.catalog import SCRIPT, UnknownFunctionError, cleaned_name

        try:
            spec = self._checker.builtin(reference.name)
        except FetchError as error:
            # The machine that runs the file may have a package that is not installed here.
            self._error(called, str(error), warning=isinstance(error, UnknownFunctionError))
            return None
        self._call(step, item, called, spec)
        return None if cleaned_name(reference.name) == SCRIPT or isinstance(spec.outputs, str) else spec.outputs

    def _call(self, step: Step, item: Node, called: Node, spec: Spec) -> None:
        """Check the inputs that a step gives against those that the function takes."""
        name = called.text if isinstance(called, Scalar) else step.name
        inputs = child(item, "inputs")
        entries = inputs.entries if isinstance(inputs, Mapping) else {}
        for key, entry in entries.items():
            if key in spec.inputs:
                if (declared := spec.inputs[key].type) is not _static_type(entry.node, declared):
                    message = f'input "{key}" is {kind_of(entry.node)}, but "{name}" declares the type {declared}'
                    self._error(entry.node, message, warning=True)
            elif not has_expression(key):
                advice = meant(key, spec.inputs) or "; remove it"
                self._error(entry.key, f'"{name}" takes no input "{key}"{advice}')
        if any(has_expression(key) for key in entries):
            return
        for key, parameter in spec.inputs.items():
            if parameter.default is UNSET and key not in entries:
                self._error(item, f'"{name}" requires an input "{key}", {parameter.type.article}; add it under inputs')

    def _sequence_outputs(self, spec: Spec) -> None:
        """Check the outputs that a run list gives against those that the specification declares."""
        if isinstance(spec.outputs, str):
            return
        outputs = child(self._node, "outputs")
        entries = outputs.entries if isinstance(outputs, Mapping) else {}
        for key, entry in entries.items():
            if key not in spec.outputs:
                self._error(entry.key, f'output "{key}" is not declared; add it to outputs in the specification')
            elif (declared := spec.outputs[key].type) is not _static_type(entry.node, declared):
                self._error(entry.node, f'output "{key}" is {kind_of(entry.node)}, but its declared type is {declared}')
        for key, parameter in spec.outputs.items():
            if parameter.default is UNSET and key not in entries:
                advice = "add it to outputs below run, or declare a default"
                self._error(outputs or self._node, f'output "{key}" is declared, but not given; {advice}')

    def _expressions(self, node: Node | None, scope: Scope) -> None:
        """Check the expressions in the keys and values of a node."""
        for scalar in _scalars(node) if node is not None else ():
            if "${{" not in scalar.text:
                continue
            nodes, errors = read_expressions(scalar.text)
            for error in errors:
                # Its message without its own line and column, and without the marked text.
                sentence = str(error).splitlines()[0].partition(": ")[2]
                self._error(scalar, sentence, error.span[0])
            for finding in (finding for node in nodes for finding in findings(node, scope)):
                self._error(scalar, finding.message, finding.offset, warning=finding.warning)

    def _inputs_in_script(self, script: Scalar, scope: Scope) -> None:
        """Warn of the inputs whose text the shell would execute."""
        if "${{" not in script.text:
            return
        nodes, _ = read_expressions(script.text)
        for path in (path for node in nodes for path in sources(node)):
            kind = scope.kind(path[:2])
            if len(path) > 1 and path[0][0] == "inputs" and kind is not None and kind.type in EXECUTED:
                name, offset = path[1]
                advice = f'write "${name.upper()}" and env: {{{name.upper()}: "${{{{ inputs.{name} }}}}"}}'
                self._error(script, f'the shell runs $(...) in the input "{name}"; {advice}', offset, warning=True)

    def _error(self, node: Node, message: str, offset: int | None = None, *, warning: bool = False) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(place=self._place(node, offset), message=message, warning=warning))

    def _place(self, node: Node, offset: int | None = None) -> Place:
        if offset is None or not isinstance(node, Scalar):
            return place_of(node, self._function.file)
        if self._lines is None:
            self._lines = self._text.removeprefix("\ufeff").splitlines()
        return place_within(node, offset, self._lines, self._function.file)


def _step_file(path: str | os.PathLike[str]) -> str:
    """Return the path itself, or for a directory the path of its step file."""
    files = [os.path.join(path, name) for name in FILES]
    return tidy(next(filter(os.path.isfile, files), path))


def _scripts(step: Step, item: Node) -> Iterator[Scalar]:
    """Yield the texts that a step gives to a shell."""
    from step_runner.builtin.catalog import cleaned_name

    given = child(item, "script")
    if isinstance(step.call, Builtin) and cleaned_name(step.call.name) in SHELL_FUNCTIONS:
        inputs = child(item, "inputs")
        given = None if inputs is None else child(inputs, "script")
    yield from _scalars(given) if given is not None else ()


def _scalars(node: Node) -> Iterator[Scalar]:
    if isinstance(node, Scalar):
        yield node
    elif isinstance(node, Listing):
        for item in node.items:
            yield from _scalars(item)
    else:
        for entry in node.entries.values():
            yield entry.key
            yield from _scalars(entry.node)


def _static_type(node: Node, declared: ValueType) -> ValueType | None:
    """Return the type of a value, or the declared one if only the evaluation of an expression shows it."""
    return declared if isinstance(node, Scalar) and has_expression(node.text) else type_of(value_of(node))
