"""Runs functions: a command, or a sequence of steps, each of which calls a function."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple, TypeAlias, assert_never

import msgspec

from step_runner.errors import InputError, OutputError, StepError, StepRunnerError, StoppedError, causes
from step_runner.expression import Secret, expand, expand_text, has_expression, is_secret, reveal
from step_runner.model import (
    SCRIPT_SPEC,
    Dynamic,
    Exec,
    ExecResult,
    Function,
    Git,
    Reference,
    Script,
    Sequence,
    Spec,
    Status,
    Step,
    StepResult,
    Value,
)
from step_runner.paths import with_slashes
from step_runner.runner import binding, script
from step_runner.runner.context import GlobalContext, StepsContext
from step_runner.runner.exec import Command, run_command
from step_runner.runner.files import Source, StepFiles, check_outputs, read_any_outputs, read_exports, read_outputs
from step_runner.runner.masks import masked

DEEPEST = 100
"""Most functions that may call each other in depth: a deeper call is a recursion."""

MOST_EXPANSIONS = 10
"""Most expansions of a reference that expands to an expression again."""

NOT_STARTED = ("not started", "because the job was cancelled")

SCRIPT = Function(spec=SCRIPT_SPEC, body=Exec(command=()))
"""The function that a `script:` calls. Its command is the shell's, and it may write outputs of any name."""

Outputs: TypeAlias = "Mapping[str, Value | Secret]"


class Outcome(NamedTuple):
    """The result of a function, and its error. A function that failed before its start has no result."""

    result: StepResult | None = None
    outputs: Outputs = {}
    error: Exception | None = None


async def run_root(function: Function, job: GlobalContext) -> Outcome:
    """Run the function of a job; its inputs have their default values."""
    with job.step_files() as files:
        inputs = binding.assign({}, function.spec)
        context = StepsContext(job=job, path=(), directory=function.directory, files=files, inputs=inputs)
        return await _run_function(_Run(function, context, time.time()))


class _Run(msgspec.Struct):
    """A run of a function: its call, with the expressions evaluated, and what the function has done so far.

    No step has called a job's own function: it has no name and no reference. `start_time` is in seconds since the
    epoch. `env` is the whole environment at the start, and `step_env` that without the function's own variables.
    """

    function: Function
    context: StepsContext
    start_time: float
    name: str = ""
    reference: Reference | Script | None = None
    inputs: Mapping[str, Value | Secret] = {}
    env: Mapping[str, str] = {}
    step_env: Mapping[str, str] = {}
    outputs: Outputs = {}
    exports: Mapping[str, str] = {}
    exec_result: ExecResult | None = None
    shown_command: tuple[str, ...] = ()
    sub_results: list[StepResult] = []

    def __post_init__(self) -> None:
        self.env = self.context.recorded_environment()
        self.step_env = self.env if self.reference is not None else {}

    def with_own_env(self) -> StepsContext:
        """Add the variables that the function itself sets; return the context with them."""
        if self.function.env:
            context = self.context
            own = binding.expand_env(self.function.env, context.scope(), "expand step env: env variable")
            overrides = {**context.overrides, **own}
            self.context = msgspec.structs.replace(context, overrides=overrides, own={**context.own, **own})
            self.env = self.context.recorded_environment()
        return self.context

    def result(self, error: Exception | None) -> StepResult:
        """Return the result of a run that ends now."""
        return StepResult(
            name=self.name,
            call=self.reference,
            inputs=self.inputs,
            function=self.function,
            status=Status.SUCCESS if error is None else _status(error),
            env=self.env,
            step_env=self.step_env,
            own_env=self.context.own,
            outputs=self.outputs,
            exports=self.exports,
            exec_result=self.exec_result,
            shown_command=self.shown_command,
            sub_results=tuple(self.sub_results),
            start_time=self.start_time,
            end_time=time.time(),
        )


# Steps of a sequence.


async def _run_step(step: Step, caller: StepsContext) -> Outcome:
    """Run one step of a sequence. Each error names the step."""
    start_time = time.time()
    try:
        caller.job.proc.check(*NOT_STARTED)
        with caller.job.step_files() as files:
            reference, function = await _find_function(step, caller, files)
            outcome = await _run_function(_enter(step, reference, function, caller, files, start_time))
    except StepRunnerError as error:
        return Outcome(error=StepError(step.name, error))
    if outcome.error is None:
        return outcome
    return outcome._replace(error=StepError(step.name, outcome.error))


async def _find_function(step: Step, caller: StepsContext, files: StepFiles) -> tuple[Reference | Script, Function]:
    """Return the function that a step calls, and its reference without expressions."""
    if isinstance(step.call, Script):
        return step.call, SCRIPT
    if len(caller.path) >= DEEPEST:
        chain = " > ".join((*caller.path[:4], "...", step.name))
        raise InputError(f"functions call each other more than {DEEPEST} deep ({chain}): does one call itself?")
    try:
        reference = _expand_reference(step.call, caller.scope(files))
        environment = partial(_step_environment, step, caller, files)
        return reference, await caller.job.resolve(reference, caller.directory, environment)
    except StoppedError:
        raise
    except StepRunnerError as error:
        raise InputError(f"failed to load: {error}") from error


def _step_environment(step: Step, caller: StepsContext, files: StepFiles) -> Mapping[str, str]:
    """Return the environment of a step, as far as it is known without its function."""
    env = binding.expand_env(step.env, caller.scope(files), "env")
    return msgspec.structs.replace(caller, overrides={**caller.overrides, **env}).environment()


def _expand_reference(reference: Reference, scope: binding.Scope) -> Reference:
    """Return a reference without expressions; a dynamic one becomes the text to parse."""
    if isinstance(reference, Git):
        return msgspec.structs.replace(reference, url=reveal(expand_text(reference.url, scope)))
    if not isinstance(reference, Dynamic):
        return reference
    text = reference.template
    for _ in range(MOST_EXPANSIONS):
        text = str(reveal(expand_text(text, scope)))
        if not has_expression(text):
            return Dynamic(template=text)
    raise InputError(f"the reference is an expression again after {MOST_EXPANSIONS} expansions: {text}")


def _enter(
    step: Step,
    reference: Reference | Script,
    function: Function,
    caller: StepsContext,
    files: StepFiles,
    start_time: float,
) -> _Run:
    scope = caller.scope(files if function is SCRIPT else None)
    given = binding.expand_inputs(_with_script_input(step), function.spec, scope)
    env = binding.expand_env(step.env, scope, "env")
    context = StepsContext(
        job=caller.job,
        path=(*caller.path, step.name),
        directory=caller.directory if function is SCRIPT else function.directory,
        files=files,
        # A script needs to know whether it contains a secret.
        inputs=given if function is SCRIPT else binding.assign(given, function.spec),
        overrides={**caller.overrides, **env},
        own=env,
    )
    inputs = {name: context.inputs[name] for name in given}
    return _Run(function, context, start_time, step.name, reference, inputs)


def _with_script_input(step: Step) -> Step:
    if isinstance(step.call, Script):
        return msgspec.structs.replace(step, inputs={"script": step.call.text})
    return step


# Functions.


async def _run_function(run: _Run) -> Outcome:
    masks = run.context.job.masks
    masks.add(run.context.inputs.values() if run.function is not SCRIPT else ())
    error: Exception | None
    try:
        match run.function.body:
            case Exec() as body:
                error = await _run_exec(run, body)
            case Sequence() as body:
                error = await _run_sequence(run, body)
            case body:
                assert_never(body)
    except StepRunnerError as raised:
        error = raised
    masks.add(run.outputs.values())
    return Outcome(run.result(error), run.outputs, error)


async def _run_exec(run: _Run, body: Exec) -> Exception | None:
    """Run a command. Return its error, which may be a group, or raise StepRunnerError."""
    job = run.context.job
    job.proc.check(*NOT_STARTED)
    job.notice(f"Running step name={run.name}")
    context = run.with_own_env()
    words, work_dir = _expand_exec(run.function, body, context)
    run.shown_command, argv = tuple(map(masked, words)), tuple(str(reveal(word)) for word in words)
    command = Command(argv, work_dir, context.environment(), _expand_input(body, context), body.stop)
    if made := _names_files(command, job.scratch):
        context.files.make()
    run.exec_result, error = await run_command(command, context.path, job)
    if error is None:
        run.outputs = await _read_outputs(run.function, context, made=made)
        run.exports = await _read_exports(context, argv, made=made)
        job.exports.add(run.exports, run.name)
    return error


def _names_files(command: Command, scratch: str) -> bool:
    """Return whether a command gets the path of one of its files. Most do not, and need none."""
    given = (command.given or b"").decode(errors="replace")
    return any(with_slashes(scratch) in text for text in (*command.argv, given, *command.env.values()))


async def _run_sequence(run: _Run, body: Sequence) -> Exception | None:
    """Run the steps until one fails. Return the error of that one."""
    context = run.with_own_env()
    for step in body.steps:
        outcome = await _run_step(step, context)
        run.sub_results += [outcome.result] if outcome.result is not None else []
        context.steps[step.name] = {"outputs": outcome.outputs}
        if outcome.error is not None:
            return outcome.error
    run.outputs = _sequence_outputs(run.function.spec, body, context)
    return None


def _expand_exec(function: Function, body: Exec, context: StepsContext) -> tuple[tuple[str | Secret, ...], str]:
    if function is SCRIPT:
        given = context.inputs["script"]
        text = str(reveal(given))
        # The script may contain a secret that a step has exported, or one from the request's variables.
        secret = is_secret(given) or context.job.masks.found_in(text)
        command = script.command(text, context.job.scratch, secret=secret)
        if sys.platform == "win32":  # Windows has no standard shell
            context.job.notice(script.notice(command[0]))
        return command, context.job.work_dir
    scope = context.scope()
    try:
        words = tuple(expand_text(word, scope) for word in body.command)
        work_dir = str(reveal(expand_text(body.work_dir, scope))) if body.work_dir else ""
    except StepRunnerError as error:
        raise InputError(f"exec: {error}") from error
    return words, os.path.join(context.job.work_dir, work_dir) if work_dir else context.job.work_dir


def _expand_input(body: Exec, context: StepsContext) -> bytes | None:
    if body.input is None:
        return None
    return str(reveal(expand_text(body.input, context.scope()))).encode(errors="surrogateescape")


async def _read_outputs(function: Function, context: StepsContext, *, made: bool) -> Outputs:
    declared = {} if function.spec.outputs == "delegate" else function.spec.outputs
    is_sensitive = any(parameter.sensitive for parameter in declared.values())
    source = _source("output file", context.files.output, context, made=made, show_lines=not is_sensitive)
    if function is SCRIPT:
        return await source.read(read_any_outputs)
    return _marked(await source.read(partial(read_outputs, spec=function.spec)), function.spec)


async def _read_exports(context: StepsContext, argv: tuple[str, ...], *, made: bool) -> dict[str, str]:
    job = context.job
    source = _source("export file", context.files.export, context, made=made)
    exports = await source.read(partial(read_exports, total=partial(job.exports.total, job.env)))
    if not exports and source.lost and any(source.path in word for word in argv):
        job.notice(f"Warning: nothing was exported{source.lost}")
    return exports


def _source(what: str, path: str, context: StepsContext, *, made: bool, show_lines: bool = True) -> Source:
    of_step = f' of step "{context.path[-1]}"' if context.path else ""
    return Source(path, f"{what}{of_step}", show_lines and context.job.debug, made)


def _sequence_outputs(spec: Spec, body: Sequence, context: StepsContext) -> Outputs:
    if spec.outputs == "delegate":
        if body.delegate not in context.steps:
            raise OutputError(f'outputs: delegate: could not find step with name "{body.delegate}"')
        delegated: Outputs = context.steps[body.delegate]["outputs"]
        return delegated
    scope = context.scope()
    expanded: dict[str, Value | Secret] = {}
    for name, value in body.outputs.items():
        try:
            expanded[name] = expand(value, scope)
        except StepRunnerError as error:
            raise OutputError(f'outputs: "{name}": {error}') from error
    try:
        checked = check_outputs({name: reveal(value) for name, value in expanded.items()}, spec.outputs)
    except OutputError as error:
        raise OutputError(f"outputs: {error}") from None
    return _marked({**checked, **expanded}, spec)


def _marked(outputs: Outputs, spec: Spec) -> Outputs:
    if spec.outputs == "delegate":
        return outputs
    return {name: binding.mark(value, spec.outputs[name]) for name, value in outputs.items()}


def _status(error: Exception) -> Status:
    return Status.CANCELLED if any(isinstance(cause, StoppedError) for cause in causes(error)) else Status.FAILURE
