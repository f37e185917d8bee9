"""`check` finds the problems of step files without running anything."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from step_runner.functions.check import check, check_text


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(
        "hello/func.yml",
        """
        spec:
          inputs:
            name: {type: string}
            age: {type: number, default: 1}
          outputs:
            text: {type: string}
        ---
        exec: {command: [echo, "${{ inputs.name }}"]}
        """,
    )
    return tmp_path


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(dedent(text).lstrip())


def problems(text: str, specification: str = "{}") -> list[str]:
    """Return the problems of a definition that begins in line 3."""
    found = check_text(f"{specification}\n---\n{dedent(text).strip()}\n", file="main.yml", directory=str(Path.cwd()))
    return [str(problem).removeprefix("main.yml:") for problem in found]


def test_check_finds_nothing_in_a_valid_file() -> None:
    text = """
    env: {A: "${{ inputs.x }} ${{ vars.B }}"}
    run:
      - {name: one, func: ./hello, inputs: {name: "${{ inputs.x }}"}, env: {C: "${{ func_dir }}"}}
      - {name: two, script: "echo ${{ steps.one.outputs.text }} \\\\${{ nothing }} ${{ env }}"}
      - {name: three, script: "${{ steps.two.outputs.any || steps['one'].outputs['text'] }}"}
      - {name: four, func: "${{ vars.F }}", inputs: {any: 1}}
      - {name: five, func: gitlab.com/c/s@v1, inputs: {any: 1}}
      - {name: six, script: "${{ [steps.four.outputs.any, {a: str(steps.five.outputs.x)}, work_dir] }}"}
    outputs: {o: "${{ steps.one.outputs.text }}"}
    """

    assert problems(text, "spec: {inputs: {x: {type: string}}, outputs: {o: {type: string}}}") == []


def test_check_compares_inputs_with_the_called_function() -> None:
    text = """
    run:
      - name: one
        func: ./hello
        inputs:
          nme: x
          age: old
    """

    assert problems(text) == [
        '4:5: "./hello" requires an input "name", a string; add it under inputs',
        '7:7: "./hello" takes no input "nme"; did you mean "name"?',
        '8:12: warning: input "age" is a string, but "./hello" declares the type number',
    ]


def test_check_accepts_any_input_named_by_an_expression() -> None:
    assert problems('run: [{name: one, func: ./hello, inputs: {"${{ vars.X }}": 1}}]') == []


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("inputs.y", '6:17: input "y" is not declared; known: x'),
        ("envs.A", '6:10: "envs" is not a valid name in expressions; did you mean "env"?'),
        ("steps.on.outputs.text", '6:16: no step "on" runs before; did you mean "one"?'),
        ("steps.two.outputs.x", '6:16: step "two" has not run yet; use its outputs in a later step'),
        ("steps.three.outputs.x", '6:16: step "three" has not run yet; use its outputs in a later step'),
        ("steps.one.outputs.txt", '6:28: step "one" has no output "txt"; did you mean "text"?'),
        ("steps['one'].outputs[\"txt\"]", '6:31: step "one" has no output "txt"; did you mean "text"?'),
        ("steps.one.text", '6:20: a step has no "text"; write steps.one.outputs.NAME'),
        ('1 + (env || "${{ inputs.y }}")[inputs.x]', '6:34: input "y" is not declared; known: x'),
        ("vars[inputs.y]", '6:22: input "y" is not declared; known: x'),
        ("1 +", '6:14: expected a value, found "}"'),
    ],
)
def test_check_reports_unknown_names_in_expressions(expression: str, message: str) -> None:
    """The column is that of the wrong name, in a block scalar too."""
    text = f"""
    run:
      - {{name: one, func: ./hello, inputs: {{name: x}}}}
      - script: |-
         ${{{{ {expression} }}}}
        name: two
      - {{name: three, script: echo}}
    """

    assert problems(text, "spec: {inputs: {x: {type: string}}}") == [message]


def test_check_reads_every_expression_of_a_script() -> None:
    text = """
    run:
      - name: one
        script: |
          echo ${{ inputs.a }}
            echo ${{ 1 + }} ${{ inputs.a }}
          echo ${{ unclosed
    """

    assert problems(text) == [
        '6:23: input "a" is not declared; declare it under inputs in the specification',
        '7:22: expected a value, found "}"',
        '7:36: input "a" is not declared; declare it under inputs in the specification',
        '8:12: "${{" is not closed, add "}}" after the expression',
    ]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("${{ nope }}", "5:17"),
        ("'${{ nope }}'", "5:18"),
        ('"a ${{ nope }}"', "5:20"),
        ('"\\x24{{ 1 }} ${{ nope }}"', "5:30"),
        ('"${{ \\x6eope }}"', "5:13"),
        (">-\n      a\n      ${{ nope }}", "7:11"),
    ],
    ids=["plain", "single quotes", "double quotes", "escape before", "escaped itself", "folded"],
)
def test_problem_has_place_of_its_word_if_found(value: str, place: str) -> None:
    text = f"run:\n  - name: a\n    script: {value}"

    assert [problem.split(": ")[0] for problem in problems(text)] == [place]


def test_env_of_a_function_cannot_use_its_steps() -> None:
    assert problems('env: {A: "${{ steps.a.outputs.x }}"}\nrun: [{name: a, script: x}]') == [
        '3:21: no step "a" runs before'
    ]


def test_repeated_step_name_means_the_later_step() -> None:
    text = """
    run:
      - {name: a, func: ./hello, inputs: {name: x}}
      - {name: a, script: x}
      - {name: b, script: "${{ steps.a.outputs.any }}"}
    """

    assert problems(text) == [
        '5:12: warning: there is a step "a" above, whose outputs this one hides; give it another name'
    ]


def test_check_compares_outputs_with_the_specification() -> None:
    specification = "spec: {outputs: {a: {type: string}, b: {type: number}, c: {type: string, default: x}}}"

    assert problems("run: [{name: x, script: y}]\noutputs: {a: 5, d: 1}", specification) == [
        '4:10: output "b" is declared, but not given; add it to outputs below run, or declare a default',
        '4:14: output "a" is a number, but its declared type is string',
        '4:17: output "d" is not declared; add it to outputs in the specification',
    ]


def test_check_follows_delegated_outputs_through_functions(here: Path) -> None:
    write(
        "outer/func.yml",
        """
        spec: {outputs: delegate}
        ---
        run: [{name: a, func: ../hello, inputs: {name: x}}]
        delegate: a
        """,
    )
    text = """
    run:
      - {name: a, func: ./outer}
      - {name: b, script: "${{ steps.a.outputs.text }} ${{ steps.a.outputs.txt }}"}
    """

    assert problems(text) == ['5:72: step "a" has no output "txt"; did you mean "text"?']


def test_check_reports_called_functions_once_at_their_places() -> None:
    write("inner/func.yml", '{}\n---\nexec: {command: ["${{ inputs.x }}"], work_dir: "${{ steps.x }}"}\n')
    text = "run: [{name: a, func: ./inner}, {name: b, step: ./inner}]"
    found = check_text("{}\n---\n" + text, file="main.yml", directory=str(Path.cwd()))

    assert [str(problem) for problem in found] == [
        'inner/func.yml:3:30: input "x" is not declared; declare it under inputs in the specification',
        'inner/func.yml:3:59: no step "x" runs before',
    ]


def test_check_shows_the_chain_of_a_recursive_call() -> None:
    write("a/func.yml", "{}\n---\nrun: [{name: b, func: ../b}]\n")
    write("b/func.yml", "{}\n---\nrun: [{name: a, func: ../a}]\n")

    assert [str(problem) for problem in check(["a"])] == [
        "b/func.yml:3:23: the function calls itself without end: a/func.yml calls b/func.yml calls a/func.yml;"
        " remove one of the calls"
    ]


def test_check_reports_problems_in_the_order_of_its_paths() -> None:
    write("one.yml", "{}\n---\nrun: [{name: a, func: ./nothing}]\n")
    write("two/step.yml", "{}\n---\nrun: []\n")

    assert [str(problem) for problem in check(["two", "one.yml", "hello", "three.yml", "two/step.yml"])] == [
        'two/step.yml:3:6: "run" of the definition is an empty list; write a list whose items begin with '
        '"- name: NAME"',
        "one.yml:3:23: nothing: no such directory; a function is a directory with func.yml or step.yml",
        "three.yml:1:1: no such file, but its directory has one.yml; "
        "a function is a directory with func.yml or step.yml",
    ]


def test_check_reads_a_bare_run_list() -> None:
    found = check_text("- {func: ./hello}\n", file="STEPS", directory="", bare=True)

    assert [str(problem) for problem in found] == [
        'STEPS:1:3: "./hello" requires an input "name", a string; add it under inputs'
    ]


def test_check_reads_two_thousand_steps() -> None:
    """Checking takes time in proportion to the file; otherwise this takes minutes, and the test's timeout ends it."""
    items = "".join(
        f"  - {{name: f{number}, func: ./hello, inputs: {{name: x}}}}\n"
        f"  - name: s{number}\n    script: |\n      echo\n      echo ${{{{ steps.f{number}.outputs.txt }}}}\n"
        for number in range(1000)
    )
    found = check_text("{}\n---\nrun:\n" + items, file="main.yml", directory=str(Path.cwd()))

    assert len(found) == 1000


# Types in expressions.

SPECIFICATION = (
    "spec: {inputs: {text: {type: string}, count: {type: number}, flag: {type: boolean}, list: {type: array},"
    " map: {type: struct}}}"
)


def complaint(expression: str, *, key: str = "env") -> list[str]:
    """Return the problems of an expression in the environment of a step."""
    text = f"""
    run:
      - {{name: one, func: ./hello, inputs: {{name: x}}}}
      - name: two
        func: gitlab.com/c/s@v1
        {key}:
          V: |-
           ${{{{ {expression} }}}}
    """
    return [found.removeprefix("9:") for found in problems(text, SPECIFICATION)]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("str()", "12: str() needs one argument, not 0"),
        ("str(1, 2)", "12: str() needs one argument, not 2"),
        ("lower(env.A)", '12: function "lower" does not exist; known: bool, num, str'),
        ("nun(env.A)", '12: function "nun" does not exist; did you mean "num"?'),
        ("num([1])", "12: num() needs a string or a number, not an array"),
        ('1 + "a"', '14: "+" needs two numbers or two strings, not a number and a string; use str() or num()'),
        ("vars.N + 1", '19: "+" needs two numbers or two strings, not a string and a number; use str() or num()'),
        ("true + steps", '17: "+" needs two numbers or two strings, not a boolean and an object'),
        ("null + vars.nothing", '17: "+" needs two numbers or two strings, not null and a string'),
        ("work_dir - 1", '21: "-" needs two numbers, not a string'),
        ("2 * 3 / env.A", '18: "/" needs two numbers, not a string'),
        ("1 % str(2)", '14: "%" needs two numbers, not a string'),
        ("-work_dir", '12: "-" needs a number, not a string'),
        ("+[1]", '12: "+" needs a number, not an array'),
        ("1 + steps.one.outputs.text", '14: "+" needs two numbers or two strings, not a number and a string; use '),
        ("{(1): 2}", "14: the key of an object must be a string, not a number"),
        ("work_dir.x", "21: a string has no attributes"),
        ("[1].x", "16: an array has no attributes; use an index as in [0]"),
        ("work_dir[0]", "20: a string cannot be indexed"),
        ('[1]["a"]', "16: an array is indexed with a number, not a string"),
        ("env[0]", "16: object requires string key, not a number"),
        ('(1 > 2) + "a"', '20: "+" needs two numbers or two strings, not a boolean and a string'),
        ("!env + 1", '17: "+" needs two numbers or two strings, not a boolean and a number'),
        ('"${{ 1 - "a" }}"', '19: "-" needs two numbers, not a string'),
        ('(env.A || "b") - 1', '27: "-" needs two numbers, not a string'),
    ],
)
def test_check_reports_an_expression_that_must_fail(expression: str, message: str) -> None:
    """Arguments, functions and operators are checked as far as the types are known."""
    (found,) = complaint(expression)
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            "inputs.text + 1",
            '24: warning: "+" needs two numbers or two strings, not a string and a number; ',
        ),
        ("inputs.text - 1", '24: warning: "-" needs two numbers, not a string'),
        ("-inputs.flag", '12: warning: "-" needs a number, not a boolean'),
        ("inputs.list.x", "24: warning: an array has no attributes; use an index as in [0]"),
        ("inputs.count[0]", "24: warning: a number cannot be indexed"),
    ],
)
def test_check_warns_of_an_expression_against_a_declared_type(expression: str, message: str) -> None:
    """An input may be given a value of another type than the declared one."""
    (found,) = complaint(expression)
    assert found.startswith(message)


@pytest.mark.parametrize(
    "expression",
    [
        'inputs.text + "a"',
        "inputs.count * 2 + 1",
        "inputs.list[0] + 1",
        "inputs.map.x - 1",
        "inputs.map.x[0].y + 1",
        "num(vars.N) + 1",
        "str(1) + env.A",
        "1 == 'a' && 5 || 2",
        "(vars.A && 5) + 1",
        "(inputs.flag || 1) + 1",
        "steps.two && 1",
        "{a: 1}.a + 1",
        "[1, 'a'][0] + 1",
        "env[inputs.text] + 'a'",
        "inputs.text < inputs.count",
        "bool(null) == true",
        "1 " + "+ 1" * 5000,
        "env" + ".a" * 5000,
    ],
)
def test_check_accepts_an_expression_that_may_succeed(expression: str) -> None:
    """An expression of unknown type causes no problem."""
    if "steps.two" in expression:
        assert complaint(expression) == ['18: step "two" has not run yet; use its outputs in a later step']
    elif expression.startswith("env.a"):
        assert all("no attributes" in found for found in complaint(expression))
    else:
        assert complaint(expression) == []


# Inputs in scripts.


def script_warnings(script: str) -> list[str]:
    return problems(
        f"""
    run:
      - name: one
        script: >-
         {script}
    """,
        SPECIFICATION,
    )


@pytest.mark.parametrize(
    ("script", "column"),
    [
        ("echo ${{ inputs.text }}", 22),
        ("echo ${{ 'a' + inputs.text }}", 28),
        ("echo ${{ inputs.flag && inputs.text }}", 37),
        ("echo ${{ inputs.text || 'none' }}", 22),
        ("echo ${{ str(inputs.text) }}", 26),
        ('echo ${{ "a ${{ inputs.text }}" }}', 29),
        ("echo ${{ [1, inputs.text] }}", 26),
    ],
)  # fmt: skip
def test_check_warns_of_a_string_input_in_a_script(script: str, column: int) -> None:
    """The shell would run the text of the caller."""
    advice = 'write "$TEXT" and env: {TEXT: "${{ inputs.text }}"}'
    warning = f'6:{column}: warning: the shell runs $(...) in the input "text"; {advice}'
    assert script_warnings(script) == [warning]


@pytest.mark.parametrize("name", ["list", "map", "list[0]", "map.a.b"])
def test_check_warns_of_a_list_or_mapping_in_a_script(name: str) -> None:
    """Lists and mappings may hold any text, too."""
    (warning,) = script_warnings(f"echo ${{{{ inputs.{name} }}}}")
    assert "the shell runs $(...) in the input" in warning


@pytest.mark.parametrize(
    "script",
    [
        "echo ${{ inputs.count }} ${{ inputs.flag }}",
        "echo ${{ inputs.text == 'a' }} ${{ !inputs.text }} ${{ bool(inputs.list) }}",
        "echo ${{ inputs.text && 1 }}",
        "echo ${{ vars.A }} ${{ env.B }} ${{ work_dir }}",
    ],
)
def test_check_accepts_other_values_in_a_script(script: str) -> None:
    """A number holds no command, and a comparison no text."""
    assert script_warnings(script) == []


def test_check_accepts_a_string_input_in_the_environment() -> None:
    """The shell does not run a variable's text, and a program without a shell runs no text."""
    text = """
    run:
      - {name: one, script: 'echo "$T"', env: {T: "${{ inputs.text }}"}}
      - {name: two, func: ./hello, inputs: {name: "${{ inputs.text }}"}}
    """
    assert problems(text, SPECIFICATION) == []


@pytest.mark.parametrize(
    ("function", "script"),
    [("script", "echo ${{ inputs.text }}"), ("script_legacy", ["true", "echo ${{ inputs.text }}"])],
)
def test_check_warns_of_an_input_in_a_builtin_script(function: str, script: object) -> None:
    """The functions that run a script have the same risk as the keyword."""
    text = json.dumps({"run": [{"name": "a", "func": f"builtin://{function}", "inputs": {"script": script}}]})
    (warning,) = problems(text, SPECIFICATION)
    assert "the shell runs $(...) in the input" in warning
