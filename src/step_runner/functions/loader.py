"""From the text of a step file to a function: reads, decodes, and checks the two documents against each other."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING

from gracefulexitcmd.duration import seconds
from step_runner.errors import FunctionFileError
from step_runner.functions.decoder import Report, decode
from step_runner.functions.document import read_documents
from step_runner.functions.nodes import Listing, Mapping, Node, Scalar, find, is_null, place_of
from step_runner.functions.reference import names_step_file, parse_reference
from step_runner.functions.rules import git_of, oci_of
from step_runner.functions.source import find_file, read_text
from step_runner.model import (
    Exec,
    Function,
    Parameter,
    Place,
    Problem,
    Reference,
    Script,
    Sequence,
    Spec,
    Step,
    Stop,
    StopStage,
    Struct,
    ValueType,
)
from step_runner.paths import tidy

if TYPE_CHECKING:
    from step_runner.functions.rules import Values

DEFINES = frozenset({"exec", "run"})


class Reading(Struct, frozen=True):
    """A step file as read: the function if it can be used, all problems, and the node of its definition."""

    function: Function | None
    problems: tuple[Problem, ...]
    text: str
    definition: Node

    def result(self) -> tuple[Function, tuple[Problem, ...]]:
        """Return the function and its warnings. Raise FunctionFileError with all problems if it cannot be used."""
        if self.function is None:
            raise FunctionFileError(self.problems)
        return self.function, self.problems


def load_function(text: str, *, file: str, directory: str = "") -> tuple[Function, tuple[Problem, ...]]:
    """Return the function that the two documents of a step file define, and warnings.

    `file` is its name in messages, `directory` the base of its local references. Raise FunctionFileError with every
    problem of the file.
    """
    return read_function(text, file=file, directory=directory).result()


def load_run_list(text: str, *, file: str, directory: str = "") -> tuple[Function, tuple[Problem, ...]]:
    """Return the function that runs a bare list of steps, and warnings; names may be missing or irregular.

    Raise FunctionFileError with every problem of the text.
    """
    return read_run_list(text, file=file, directory=directory).result()


def read_file(path: str | os.PathLike[str], shown_as: str | None = None) -> Reading:
    """Read a step file of this machine, or the one in a directory.

    Raise FetchError if there is no such file, FunctionFileError with every problem of a file that is not valid YAML.
    """
    name = os.fspath(path)
    shown = shown_as or name
    if os.path.isdir(name) or not (names_step_file(name) or os.path.lexists(name)):
        name = find_file(tidy(name), None, shown)
        shown = posixpath.join(shown, posixpath.basename(name))
    directory = posixpath.dirname(tidy(os.path.join(os.getcwd(), name)))
    return read_function(read_text(name, shown), file=shown, directory=directory)


def read_function(text: str, *, file: str, directory: str = "") -> Reading:
    """Read the two documents of a step file. Raise FunctionFileError if they are not valid YAML or not two."""
    documents = read_documents(text, file)
    _check_documents(documents.nodes, file, documents.problems)
    first, second = documents.nodes
    report = Report(file, documents.problems)
    specification = None if is_null(first) else decode("Specification", first, "the specification", report)
    definition = decode("Definition", second, "the definition", report)
    function = None
    if not report.errors:
        spec = _spec(specification or {})
        _check_outputs(spec, definition, second, report)
        body, env = _body(definition, spec, second, file), definition.get("env", {})
        function = Function(spec=spec, body=body, env=env, directory=directory, file=file)
    return _reading(function, report, text, second)


def read_run_list(text: str, *, file: str, directory: str = "") -> Reading:
    """Read a bare list of steps. Raise FunctionFileError if it is not valid YAML."""
    documents = read_documents(text, file, most=1)
    root = documents.nodes[0] if documents.nodes else Scalar("", True, 1, 1, 1)
    report = Report(file, documents.problems, names=False)
    items = decode("Run", root, "the run list", report)
    function = None
    if not report.errors:
        body = Sequence(steps=_steps(items, root, file))
        function = Function(spec=Spec(), body=body, directory=directory, file=file)
    return _reading(function, report, text, root)


def _reading(function: Function | None, report: Report, text: str, definition: Node) -> Reading:
    function = None if report.errors else function
    return Reading(function=function, problems=report.problems(), text=text, definition=definition)


def _check_documents(nodes: tuple[Node, ...], file: str, problems: tuple[Problem, ...]) -> None:
    problem = _both_in_one(nodes, file)
    if problem is None and (message := _wrong_documents(nodes)) is not None:
        place = place_of(nodes[0], file) if nodes else Place(file=file, line=1, column=1)
        problem = Problem(place=place, message=message)
    if problem is not None:
        raise FunctionFileError((*problems, problem))


def _both_in_one(nodes: tuple[Node, ...], file: str) -> Problem | None:
    """Return a problem if one document holds both a specification and a definition, None otherwise."""
    for node in nodes:
        if isinstance(node, Mapping) and "spec" in node.entries and not DEFINES.isdisjoint(node.entries):
            first, second = [entry.key for key, entry in node.entries.items() if key == "spec" or key in DEFINES][:2]
            order = "" if first.text == "spec" else 'begin with "spec" and '
            advice = f"{order}put a line with --- between them"
            message = f'"{first.text}" and "{second.text}" are in one document; {advice}'
            return Problem(place=place_of(second, file), message=message)
    return None


def _wrong_documents(nodes: tuple[Node, ...]) -> str | None:
    """Return the problem of the documents as a whole, None if they can be a specification and a definition."""
    if not nodes or (len(nodes) == 1 and is_null(nodes[0])):
        return 'the file is empty; write a specification such as "{}", a line with ---, and a definition'
    defines = [isinstance(node, Mapping) and not DEFINES.isdisjoint(node.entries) for node in nodes]
    specifies = [isinstance(node, Mapping) and "spec" in node.entries for node in nodes]
    if len(nodes) == 1 and defines[0]:
        return 'the specification is missing; begin the file with "{}" and a line with ---'
    if len(nodes) == 1:
        return "the definition is missing; add a line with --- and a definition with exec or run below it"
    if defines[0] and not specifies[0] and (specifies[1] or not defines[1]):
        return "the definition comes first; put the specification before it and a line with --- between them"
    return None


def _check_outputs(spec: Spec, definition: Values, node: Node, report: Report) -> None:
    """Check `outputs` and `delegate` of the definition against the specification."""
    delegates, runs = spec.outputs == "delegate", "run" in definition
    delegate, outputs = definition.get("delegate"), definition.get("outputs")
    if delegates and runs and delegate is None:
        advice = 'add "delegate: NAME" with the name of a step'
        report.error(node, f"the outputs are delegated, but to no step; {advice}")
    if delegate is not None and not (delegates and runs):
        advice = 'write "outputs: delegate" in the specification' if runs else "remove it"
        report.warning(find(node, "delegate"), f'"delegate" has no effect here; {advice}')
    if outputs is not None and (delegates or not runs):
        reason = "the outputs are delegated" if delegates else "a command writes its outputs to ${{ output_file }}"
        report.warning(find(node, "outputs"), f'"outputs" has no effect, because {reason}; remove it')


def _spec(specification: Values) -> Spec:
    written = specification.get("spec", {})
    outputs = written.get("outputs", {})
    return Spec(
        inputs=_parameters(written.get("inputs", {})),
        outputs="delegate" if isinstance(outputs, str) else _parameters(outputs),
    )


def _parameters(written: Values) -> dict[str, Parameter]:
    return {name: Parameter(**{**one, "type": ValueType(one["type"])}) for name, one in written.items()}


def _body(definition: Values, spec: Spec, node: Node, file: str) -> Exec | Sequence:
    if (written := definition.get("exec")) is not None:
        stop = _stop(written.get("stop", {}))
        return Exec(command=tuple(written["command"]), work_dir=written.get("work_dir"), stop=stop)
    return Sequence(
        steps=_steps(definition["run"], find(node, "run"), file),
        outputs=definition.get("outputs", {}),
        delegate=definition.get("delegate") if spec.outputs == "delegate" else None,
    )


def _stop(written: list[Values] | Values) -> Stop:
    if isinstance(written, list):
        return tuple(StopStage(**{**one, "wait": seconds(one["wait"])}) for one in written)
    return _short_stop(written) if written else ()


def _short_stop(written: Values) -> Stop:
    signal, grace = written.get("signal", "SIGTERM"), seconds(written["grace"]) if "grace" in written else None
    if "first" not in written:
        return (StopStage(signal=signal, wait=grace),)
    half = None if grace is None else grace / 2
    return (StopStage(signal=signal, wait=half, to="leader"), StopStage(signal=signal, wait=half, to="rest"))


def _steps(items: list[Values], node: Node, file: str) -> tuple[Step, ...]:
    assert isinstance(node, Listing)
    return tuple(_step(item, place_of(place, file)) for item, place in zip(items, node.items, strict=True))


def _step(item: Values, place: Place) -> Step:
    given = {key: item[key] for key in ("name", "inputs", "env") if key in item}
    return Step(call=_call(item), place=place, **given)


def _call(item: Values) -> Reference | Script:
    if "script" in item:
        return Script(text=item["script"])
    called = item["func"] if "func" in item else item["step"]
    if isinstance(called, str):
        return parse_reference(called)
    return git_of(called["git"]) if "git" in called else oci_of(called["oci"])
