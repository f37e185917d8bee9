"""Sequences of steps: their order, the values that they return, and the report of a failure."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.steps import command, run_list, script, shell

from gracefulexitcmd import Cause
from step_runner.errors import CommandError, StoppedError, causes, exit_status, message
from step_runner.expression import Secret
from step_runner.jobs.resolver import resolve
from step_runner.model import Dynamic, ExecResult, Local, Script, Status

if TYPE_CHECKING:
    from tests.runner.conftest import Workshop

    from step_runner.model import Function, Reference, StepResult
    from step_runner.runner.context import Environment


def string(**fields: Any) -> dict[str, Any]:
    return {"type": "string", **fields}


def shape(result: StepResult | None) -> tuple[Any, ...]:
    """Return a result tree as names and statuses."""
    assert result is not None
    return (result.name, result.status.name.lower(), *map(shape, result.sub_results))


# One after another


async def test_steps_run_in_order_in_the_work_dir(workshop: Workshop) -> None:
    assert await workshop.output(script("pwd", "echo 2", "echo 3")) == [str(workshop.work_dir), "2", "3"]
    assert workshop.started == [("s1",), ("s2",), ("s3",)]


async def test_failing_step_ends_sequence(workshop: Workshop) -> None:
    outcome = await workshop.run(script("true", "exit 3", "echo never"))
    assert str(outcome.error) == 'step "s2": exec: exit status 3'
    assert shape(outcome.result) == ("", "failure", ("s1", "success"), ("s2", "failure"))
    assert outcome.error is not None
    assert exit_status(outcome.error) == 3
    assert "never" not in workshop.log()


async def test_error_names_every_enclosing_step(workshop: Workshop) -> None:
    workshop.write("outer", run_list({"name": "middle", "step": "../inner"}))
    workshop.write("inner", script("true", "exit 3"))
    outcome = await workshop.run(run_list({"name": "first", "step": "./outer"}))
    assert str(outcome.error) == 'step "first": step "middle": step "s2": exec: exit status 3'
    assert shape(outcome.result) == (
        "",
        "failure",
        ("first", "failure", ("middle", "failure", ("s1", "success"), ("s2", "failure"))),
    )


async def test_later_step_replaces_earlier_one_of_same_name(workshop: Workshop) -> None:
    write = """echo '{"name": "o", "value": "%s"}' >>${{ output_file }}"""
    same = [{"name": "same", "script": write % text} for text in ("first", "second")]
    show = {"name": "show", "script": "echo ${{ steps.same.outputs.o }}"}
    assert await workshop.output(run_list(*same, show)) == ["second"]


async def test_steps_of_a_nested_sequence_are_not_visible(workshop: Workshop) -> None:
    workshop.write("inner", script("true"))
    steps = run_list({"name": "a", "step": "./inner"}, {"name": "b", "script": "echo ${{ steps.s1.outputs }}"})
    assert (await workshop.error(steps)).startswith('step "b": expand input "script": ')


async def test_relative_references_start_at_their_function(workshop: Workshop) -> None:
    workshop.write("a/b", run_list({"name": "up", "step": "../c"}))
    workshop.write("a/c", shell("echo ${{ func_dir }} ${{ step_dir }} ${{ work_dir }}"))
    directory = workshop.work_dir / "a/c"
    lines = await workshop.output(run_list({"name": "x", "step": "./a/b"}))
    assert lines == [f"{directory} {directory} {workshop.work_dir}"]


# Inputs


async def test_inputs_are_expanded_by_the_caller(workshop: Workshop) -> None:
    spec = {"inputs": {"x": string(default="d"), "y": {"type": "struct", "default": {"a": ["${{ env.V }}"]}}}}
    workshop.write("show", shell("echo '${{ inputs.x }} ${{ inputs.y.a[0] }}'", spec=spec))
    steps = run_list(
        {"name": "a", "step": "./show"},
        {"name": "b", "step": "./show", "inputs": {"x": "${{ env.V }}", "y": {"a": ["<${{ env.V }}>"]}}},
    )
    assert await workshop.output(steps, env={"V": "job"}) == ["d ${{ env.V }}", "job <job>"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"z": 1}, 'step "a": step does not accept input with name "z": it accepts x'),
        ({"x": "${{ env.NONE }}"}, 'step "a": expand input "x": '),
        ({}, 'step "a": failed to parse spec definition: input "x" required, but not defined'),
        ({"x": "${{ vars.S }}"}, 'step "a": assign input "x": non-sensitive input cannot derive value using sensitive'),
    ],
    ids=["unknown", "expression", "missing", "sensitive"],
)
async def test_unusable_inputs_are_refused(workshop: Workshop, inputs: dict[str, Any], message: str) -> None:
    workshop.write("take", shell("echo never", spec={"inputs": {"x": string()}}))
    steps = run_list({"name": "a", "step": "./take", "inputs": inputs})
    assert (await workshop.error(steps, variables={"S": Secret("s3cret")})).startswith(message)
    assert workshop.log() == ""


async def test_expanded_input_of_another_type_is_passed(workshop: Workshop) -> None:
    workshop.write("show", shell("echo ${{ inputs.x + 1 }}", spec={"inputs": {"x": string()}}))
    assert await workshop.output(run_list({"name": "a", "step": "./show", "inputs": {"x": 5}})) == ["6"]


async def test_sensitive_value_stays_sensitive_between_functions(workshop: Workshop) -> None:
    """It may go into sensitive inputs and into commands. An output declared as sensitive is sensitive."""
    spec = {"inputs": {"x": string(sensitive=True)}, "outputs": {"o": string(sensitive=True)}}
    write = """printf '{"name": "o", "value": "%s"}' "$X" >${{ output_file }}"""
    workshop.write("pass", shell(write, spec=spec, env={"X": "${{ inputs.x }}!"}))
    workshop.write("plain", shell("true", spec={"inputs": {"x": string()}}))
    first = {"name": "a", "step": "./pass", "inputs": {"x": "${{ vars.S }}"}}
    second = {"name": "b", "step": "./pass", "inputs": {"x": "${{ steps.a.outputs.o }}"}}
    show = {"name": "c", "script": "echo ${{ steps.b.outputs.o }}"}
    leak = {"name": "d", "step": "./plain", "inputs": {"x": "${{ steps.b.outputs.o }}"}}

    assert await workshop.output(run_list(first, second, show), variables={"S": Secret("s")}) == ["s!!"]
    message = await workshop.error(run_list(first, second, leak), variables={"S": Secret("s")})
    assert message.startswith('step "d": assign input "x": non-sensitive input cannot derive value')


# Outputs


def giving(value: str = "x") -> str:
    text = f"""echo '{{"name": "o", "value": "{value}"}}' >>${{{{ output_file }}}}"""
    return shell(text, spec={"outputs": {"o": string()}})


async def test_outputs_of_sequence_are_expanded_in_it(workshop: Workshop) -> None:
    outputs = {"list": ["${{ steps.a.outputs.o }}", {"k": "${{ steps.a.outputs.o }}"}], "plain": "p"}
    spec = {"outputs": {"list": {"type": "array"}, "plain": string(), "other": string(default="d")}}
    workshop.write("give", giving())
    workshop.write("inner", run_list({"name": "a", "step": "../give"}, spec=spec, outputs=outputs))
    outcome = await workshop.run(run_list({"name": "b", "step": "./inner"}))
    assert outcome.error is None
    assert outcome.result is not None
    assert outcome.result.sub_results[0].outputs == {"list": ["x", {"k": "x"}], "plain": "p", "other": "d"}


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"o": "${{ steps.none }}"}, 'outputs: "o": '),
        ({"o": 5}, 'outputs: key "o": mismatched types, declared as "string" in step specification and received from'),
        ({"o": "x", "p": "x"}, 'outputs: key "p": unexpected output, remove from step outputs or define in step'),
        ({}, 'outputs: key "o": missing output, add to step outputs or remove from step specification'),
    ],
    ids=["expression", "type", "undeclared", "missing"],
)
async def test_outputs_of_sequence_are_checked(workshop: Workshop, outputs: dict[str, Any], message: str) -> None:
    text = run_list({"name": "a", "script": "true"}, spec={"outputs": {"o": string()}}, outputs=outputs)
    assert (await workshop.error(text)).startswith(message)


async def test_outputs_are_not_computed_after_failure(workshop: Workshop) -> None:
    spec = {"outputs": {"o": string()}}
    text = run_list({"name": "a", "script": "exit 2"}, spec=spec, outputs={"o": "${{ steps.none }}"})
    assert await workshop.error(text) == 'step "a": exec: exit status 2'


async def test_sequence_delegates_outputs_to_a_step(workshop: Workshop) -> None:
    workshop.write("give", giving("delegated"))
    delegating = run_list({"name": "a", "step": "../give"}, spec={"outputs": "delegate"}, delegate="a")
    workshop.write("inner", delegating)
    steps = run_list({"name": "b", "step": "./inner"}, {"name": "c", "script": "echo ${{ steps.b.outputs.o }}"})
    assert await workshop.output(steps) == ["delegated"]


# References


async def test_dynamic_reference_is_expanded_just_before_the_step(workshop: Workshop) -> None:
    """Its base is the directory of the function that contains it, and it may expand to an expression again."""
    workshop.write("give", giving("./target"))
    workshop.write("target", shell("echo found"))
    give, call = {"name": "a", "step": "./give"}, {"name": "b", "step": "${{ steps.a.outputs.o }}"}
    assert await workshop.output(run_list(give, call)) == ["found"]
    twice = run_list({"name": "c", "step": "${{ vars.R }}"})
    assert (await workshop.output(twice, variables={"R": "${{ vars.S }}", "S": "./target"}))[-1] == "found"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("./none", 'step "a": failed to load: '),
        ("${{ vars.none }}", 'step "a": failed to load: '),
        ("${{ vars.loop }}", 'step "a": failed to load: the reference is an expression again after 10 expansions'),
        ("builtin://none", 'step "a": failed to load: fetching builtin function: "none" not found; '),
    ],
)
async def test_unloadable_function_leaves_no_result(workshop: Workshop, reference: str, message: str) -> None:
    steps = run_list({"name": "a", "step": reference}, {"name": "b", "script": "echo never"})
    outcome = await workshop.run(steps, variables={"loop": "${{ vars.loop }}"})
    assert str(outcome.error).startswith(message)
    assert shape(outcome.result) == ("", "failure")


async def test_functions_may_nest_a_hundred_deep(workshop: Workshop) -> None:
    for level in range(1, 99):
        workshop.write(f"f{level}", run_list({"name": f"n{level}", "step": f"../f{level + 1}"}))
    workshop.write("f99", shell("echo deepest"))
    assert await workshop.output(run_list({"name": "n0", "step": "./f1"})) == ["deepest"]
    assert len(workshop.started[0]) == 99


async def test_function_calling_itself_is_refused(workshop: Workshop) -> None:
    workshop.write("self", run_list({"name": "again", "step": "../self"}))
    message = await workshop.error(run_list({"name": "first", "step": "./self"}))
    assert "functions call each other more than 100 deep (first > again > again > again > ... > again)" in message
    assert message.count('step "again": ') == 100


# The result tree


async def test_result_describes_run_with_expanded_values(workshop: Workshop) -> None:
    show = command("sh", "-c", "exit ${{ inputs.n }}", "x", spec={"inputs": {"n": {"type": "number"}}}, env={"F": "f"})
    workshop.write("show", show)
    call = {"name": "a", "step": "./show", "inputs": {"n": "${{ 3 }}"}, "env": {"S": "${{ env.V }}"}}

    outcome = await workshop.run(run_list(call), env={"V": "job"})

    assert outcome.result is not None
    (result,) = outcome.result.sub_results
    assert (result.name, result.call, result.inputs) == ("a", Local(path="./show"), {"n": 3})
    assert {name: result.step_env.get(name) for name in "FSV"} == {"F": None, "S": "job", "V": "job"}
    assert {name: result.env[name] for name in "FSV"} == {"F": "f", "S": "job", "V": "job"}
    assert result.exec_result == ExecResult(
        command=("sh", "-c", "exit 3", "x"), work_dir=str(workshop.work_dir), exit_code=3
    )
    assert result.function.spec.inputs["n"].type == "number"


async def test_result_holds_given_inputs_without_defaults(workshop: Workshop) -> None:
    inputs = {"a": {"type": "string"}, "b": {"type": "number", "default": 1}}
    workshop.write("show", command("true", spec={"inputs": inputs}))
    outcome = await workshop.run(
        run_list({"name": "a", "step": "./show", "inputs": {"a": "${{ vars.x }}"}}), variables={"x": "given"}
    )
    assert outcome.result is not None
    assert outcome.result.sub_results[0].inputs == {"a": "given"}


async def test_result_holds_environment_before_exports(workshop: Workshop) -> None:
    """The sequence and its step record the environment at their start; the next step has the earlier exports."""
    export = 'echo \'{"name":"E","value":"1"}\' > ${{ export_file }}'
    workshop.write("both", run_list({"name": "a", "script": export}, {"name": "b", "script": "true"}))
    outcome = await workshop.run(run_list({"name": "outer", "step": "./both"}), env={"E": "0"})
    assert outcome.result is not None
    (outer,) = outcome.result.sub_results
    first, second = outer.sub_results
    assert [each.env["E"] for each in (outcome.result, outer, first, second)] == ["0", "0", "0", "1"]
    assert [each.step_env["E"] for each in (outer, first, second)] == ["0", "0", "1"]
    assert outcome.result.step_env == {}
    assert (first.exports, second.exports) == ({"E": "1"}, {})


async def test_result_holds_expanded_references(workshop: Workshop) -> None:
    workshop.write("show", command("true"))
    steps = run_list({"name": "a", "step": "${{ vars.where }}/show"})
    outcome = await workshop.run(steps, variables={"where": str(workshop.work_dir)})
    assert outcome.result is not None
    assert outcome.result.sub_results[0].call == Dynamic(template=f"{workshop.work_dir}/show")


async def test_result_of_script_names_it(workshop: Workshop) -> None:
    outcome = await workshop.run(script("echo ${{ env.V }}"), env={"V": "x"})
    assert outcome.result is not None
    (result,) = outcome.result.sub_results
    assert result.call == Script(text="echo ${{ env.V }}")
    assert result.exec_result is not None
    assert result.exec_result.command[1:] == ("-c", "echo x")


async def test_killed_command_has_signal_number_as_exit_code(workshop: Workshop) -> None:
    outcome = await workshop.run(script("kill -9 $$"))
    assert outcome.result is not None
    assert outcome.result.sub_results[0].exec_result is not None
    assert outcome.result.sub_results[0].exec_result.exit_code == -9


# Being stopped


@pytest.mark.parametrize("cause", [Cause.CANCELLED, Cause.TIMEOUT])
async def test_stopped_job_starts_nothing(workshop: Workshop, cause: Cause) -> None:
    workshop.proc.cancel(cause)
    outcome = await workshop.run(script("echo never"))
    why = "the job's timeout was reached" if cause is Cause.TIMEOUT else "the job was cancelled"
    assert str(outcome.error) == f'step "s1": not started because {why}'
    assert [error.timeout for error in causes(outcome.error or ValueError()) if isinstance(error, StoppedError)] == [
        cause is Cause.TIMEOUT
    ]
    assert outcome.result is not None
    assert outcome.result.status is Status.CANCELLED
    assert (workshop.log(), workshop.started) == ("", [])


async def test_cancel_between_two_steps_starts_no_step(workshop: Workshop) -> None:
    """The cancel comes after the first step has ended by itself, which remains a success."""
    workshop.write("second", shell("echo never"))

    async def cancel_and_resolve(reference: Reference, base: str, environment: Environment) -> Function:
        workshop.proc.cancel()
        return await resolve(workshop.proc, reference, base, environment)

    steps = run_list(
        {"name": "a", "script": "true"}, {"name": "b", "step": "./second"}, {"name": "c", "script": "true"}
    )
    outcome = await workshop.run(steps, resolve=cancel_and_resolve)

    assert str(outcome.error) == 'step "b": not started because the job was cancelled'
    assert shape(outcome.result) == ("", "cancelled", ("a", "success"), ("b", "cancelled"))
    assert workshop.log() == "Running step name=a\n"


async def test_stopped_command_raises_both_errors(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error reports the stop and the command's own failure; neither hides the other."""
    monkeypatch.setattr(workshop, "step_started", lambda _: workshop.proc.cancel())
    outcome = await workshop.run(run_list({"name": "a", "script": "exit 0"}, {"name": "b", "script": "echo never"}))
    assert shape(outcome.result) == ("", "cancelled", ("a", "cancelled"))
    assert [str(error) for error in causes(outcome.error or ValueError()) if isinstance(error, StoppedError)] == [
        "stopped on request"
    ]
    ((names, ended),) = workshop.stopped
    assert (names, ended.cause, ended.returncode) == (("a",), Cause.CANCELLED, None)


async def test_stopped_command_at_top_level_has_no_name(workshop: Workshop) -> None:
    """The test waits for the command through a FIFO."""
    os.mkfifo(workshop.work_dir / "gate")
    gate = os.open(workshop.work_dir / "gate", os.O_RDONLY | os.O_NONBLOCK)
    asyncio.get_running_loop().add_reader(gate, workshop.proc.cancel)
    outcome = await workshop.run(shell("trap 'exit 7' TERM; echo ready >gate; while :; do sleep 0.02; done"))
    asyncio.get_running_loop().remove_reader(gate)
    os.close(gate)
    assert outcome.error is not None
    assert isinstance(outcome.error, ExceptionGroup)
    stopped, own = outcome.error.exceptions
    assert (type(stopped), type(own)) == (StoppedError, CommandError)
    assert message(outcome.error) == "stopped on request; exec: exit status 7"
    assert exit_status(outcome.error) == 7
    assert [names for names, _ in workshop.stopped] == [()]
    assert 'Stopping step "": SIGTERM to ' in workshop.log()
