"""The full messages for common mistakes.

Next to the file `main.yml` is the directory `hello` with a function. It requires a string `name` and has an output
`text`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from step_runner.functions.check import check

HELLO = """\
spec:
  inputs:
    name: {type: string}
    count: {type: number, default: 1}
  outputs:
    text: {type: string}
---
exec:
  command: [echo, "${{ inputs.name }}"]
"""

MISTAKES = [
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n      script: echo\n",
        [
            "main.yml:5:13: this line is indented deeper than the key before it: "
            "line it up with the lines before"
        ],
        id="indented too deep",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n  script: echo\n",
        [
            "main.yml:5:3: this line is not an item of the list that it is indented for: "
            'begin it with "- " like the list in line 4, or line it up with the keys above'
        ],
        id="key in the column of the dash",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n\t  script: echo\n",
        ["main.yml:5:1: a tab cannot be used for indentation; use spaces"],
        id="tab",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    scirpt: echo\n",
        [
            'main.yml:4:5: step "a" has neither "func" nor "script"; add one of them',
            'main.yml:5:5: warning: unknown key "scirpt" in step "a" has no effect; did you mean "script"?',
        ],
        id="misspelt key",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    func: ./hello\n",
        ['main.yml:4:5: "./hello" requires an input "name", a string; add it under inputs'],
        id="missing input",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    func: ./hello\n    inputs: {name: x, nmae: y}\n",
        ['main.yml:6:23: "./hello" takes no input "nmae"; did you mean "name"?'],
        id="misspelt input",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    func: ./hello\n    inputs: {name: x, count: many}\n",
        ['main.yml:6:30: warning: input "count" is a string, but "./hello" declares the type number'],
        id="text for a number",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    func: ./helo\n",
        ['main.yml:5:11: helo: no such directory; did you mean "hello"?'],
        id="missing function directory",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    func: ./hello/other.yml\n    inputs: {name: x}\n",
        [
            "main.yml:5:11: hello/other.yml: no such file, but its directory has func.yml; "
            "a function is a directory with func.yml or step.yml"
        ],
        id="missing function file",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    func: hello\n",
        ['main.yml:5:11: "hello" is not a valid reference: for a function on this machine write "./hello"'],
        id="unknown form of a reference",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    func: https://gitlab.com/group/project\n",
        ['main.yml:5:11: the reference has no revision; write "https://gitlab.com/group/project@REVISION"'],
        id="URL without a revision",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    script: |\n      echo ${{ vars.X\n",
        ['main.yml:6:12: "${{" is not closed, add "}}" after the expression'],
        id="expression that is not closed",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - {name: a, script: ${{ vars.X }}}\n",
        ["main.yml:4:24: put text with ${{ }} in quotes when it is inside of [ ] or { }"],
        id="expression without quotes in braces",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: build\n    script: make\n"
        "  - name: show\n    script: echo ${{ steps.biuld.outputs.x }}\n",
        ['main.yml:7:28: no step "biuld" runs before; did you mean "build"?'],
        id="unknown name of a step",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    script: echo ${{ steps.b.outputs.x }}\n  - name: b\n    script: make\n",
        ['main.yml:5:28: step "b" has not run yet; use its outputs in a later step'],
        id="outputs of a later step",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - {name: a, func: ./hello, inputs: {name: x}}\n"
        "  - name: b\n    script: echo ${{ steps.a.outputs.txt }}\n",
        ['main.yml:6:38: step "a" has no output "txt"; did you mean "text"?'],
        id="unknown output",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    script: echo ${{ input.x }}\n",
        ['main.yml:5:22: "input" is not a valid name in expressions; did you mean "inputs"?'],
        id="misspelt context",
    ),
    pytest.param(
        "run:\n  - name: a\n    script: echo\n",
        ['main.yml:1:1: the specification is missing; begin the file with "{}" and a line with ---'],
        id="definition only",
    ),
    pytest.param(
        "spec:\n  inputs: {}\n",
        ["main.yml:1:1: the definition is missing; add a line with --- and a definition with exec or run below it"],
        id="specification only",
    ),
    pytest.param(
        "",
        ['main.yml:1:1: the file is empty; write a specification such as "{}", a line with ---, and a definition'],
        id="empty file",
    ),
    pytest.param(
        "exec: {command: [a]}\n---\nspec: {}\n",
        [
            "main.yml:1:1: the definition comes first; "
            "put the specification before it and a line with --- between them"
        ],
        id="documents swapped",
    ),
    pytest.param(
        "inputs:\n  x: {type: string}\n---\nexec: {command: [a]}\n",
        ['main.yml:1:1: the specification has no key "inputs"; known: spec'],
        id="inputs without spec",
    ),
    pytest.param(
        "{}\n---\nexec: {command: [a]}\nrun: [{name: a, script: b}]\n",
        ['main.yml:4:1: the definition has both "exec" and "run"; keep one of them'],
        id="exec and run",
    ),
    pytest.param(
        "{}\n---\nname: a\nscript: echo\n",
        [
            'main.yml:3:1: warning: unknown key "name" in the definition has no effect; '
            "known: delegate, env, exec, outputs, run",
            'main.yml:4:1: "script" is not valid in the definition; write "run:" and below it "- name: NAME" with the'
            " script",
        ],
        id="script instead of run",
    ),
    pytest.param(
        "{}\n---\nenv: {A: a}\n",
        ['main.yml:3:1: the definition has neither "exec" nor "run"; add one of them'],
        id="neither exec nor run",
    ),
    pytest.param(
        "spec: {}\nrun: []\n",
        ['main.yml:2:1: "spec" and "run" are in one document; put a line with --- between them'],
        id="one document",
    ),
    pytest.param(
        "exec: {command: [a]}\nspec: {}\n",
        [
            'main.yml:2:1: "exec" and "spec" are in one document; begin with "spec" and put a line with --- between'
            " them"
        ],
        id="one document in the wrong order",
    ),
    pytest.param(
        "{}\n---\nspec: {}\nrun: []\n",
        ['main.yml:4:1: "spec" and "run" are in one document; put a line with --- between them'],
        id="second document with both",
    ),
    pytest.param(
        "{}\n---\nsteps:\n  - name: a\n",
        [
            'main.yml:3:1: "steps" is not valid in the definition; write "run"',
        ],
        id="steps instead of run",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    run: make\n",
        ['main.yml:5:5: "run" is not valid in step "a"; write "script"'],
        id="run instead of script",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    uses: actions/checkout@v4\n",
        [
            'main.yml:5:5: "uses" is not valid in step "a"; write "func" with a reference such as "URL@REVISION";'
            " GitHub actions are not supported",
        ],
        id="uses instead of func",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    commands: [make]\n",
        [
            'main.yml:5:5: "commands" is not valid in step "a"; write "script: |" and the commands on the lines'
            " below it"
        ],
        id="commands instead of script",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    script: [make, make install]\n",
        [
            'main.yml:5:13: "script" of step "a" is a list, not a string; write "script: |" and the commands on the'
            " lines below it"
        ],
        id="script as a list",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    script: make\n    run: make\n",
        [
            'main.yml:6:5: warning: unknown key "run" in step "a" has no effect; known: action, env, func, inputs,'
            " name, script, step"
        ],
        id="run next to script",
    ),
    pytest.param(
        "{}\n---\nexec:\n  command: echo hello\n",
        ['main.yml:4:12: "command" of "exec" is a string, not a list; write a list, such as ["echo", "hello"]'],
        id="command as text",
    ),
    pytest.param(
        "{}\n---\nexec:\n  command: [a]\n  stop: {signal: SIGKILL, grace: 10 sec}\n",
        [
            'main.yml:5:18: "signal" of "stop" cannot be "SIGKILL"; '
            "it always follows at the end, so leave it out",
            'main.yml:5:34: "10 sec" is not a duration: '
            "write for example 30s, 1m30s, 500ms or a number of seconds",
        ],
        id="stop",
    ),
    pytest.param(
        "{}\n---\nexec:\n  command: [a]\n  stop: []\n",
        [
            'main.yml:5:9: "stop" of "exec" is an empty list; '
            'write "{signal: SIGINT, grace: 10s}" or a list of "{signal: SIGINT, wait: 10s}"'
        ],
        id="empty stop",
    ),
    pytest.param(
        "{}\n---\nexec:\n  command: [a]\n  stop: SIGINT\n",
        [
            'main.yml:5:9: "stop" of "exec" is a string, not a list or a mapping; '
            'write "{signal: SIGINT, grace: 10s}" or a list of "{signal: SIGINT, wait: 10s}"'
        ],
        id="stop as text",
    ),
    pytest.param(
        "{}\n---\nexec:\n  command: [a]\n  stop: [{wait: -1s, to: everybody}, {signal: SIGSTOP, wait: 0}, TERM]\n",
        [
            'main.yml:5:10: stop stage 1 has no signal; add one, such as "signal: SIGTERM"',
            'main.yml:5:17: "-1s" is not a duration: write for example 30s, 1m30s, 500ms or a number of seconds',
            'main.yml:5:26: "to" of stop stage 1 cannot be "everybody"; known: all, group, leader',
            'main.yml:5:47: "signal" of stop stage 2 cannot be "SIGSTOP"; a stopped process cannot end',
            'main.yml:5:66: stop stage 3 is a string, not a mapping; write "{signal: SIGTERM, wait: 10s}"',
        ],
        id="stages of stop",
    ),
    pytest.param(
        "{}\n---\nexec:\n  command: [a]\n  stop: {signal: SIGINT, wait: 10s, first: group}\n",
        [
            "main.yml:5:32: this key is only for the long form, stop: [{signal: SIGINT, wait: 10s, to: leader}]",
            'main.yml:5:44: "first" of "stop" cannot be "group"; known: leader',
        ],
        id="long keys in the short form of stop",
    ),
    pytest.param(
        "{}\n---\nexec:\n  command: [a]\n  stop: [{signal: SIGQUIT, grace: 10s}]\n",
        [
            'main.yml:5:10: stop stage 1 has no wait; add one, such as "wait: 10s"',
            "main.yml:5:35: this key is only for the short form, stop: {signal: SIGINT, grace: 10s, first: leader}",
        ],
        id="short keys in the long form of stop",
    ),
    pytest.param(
        "{}\n---\nrun: []\n",
        [
            'main.yml:3:6: "run" of the definition is an empty list; '
            'write a list whose items begin with "- name: NAME"'
        ],
        id="empty run",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - echo hello\n",
        ['main.yml:4:5: step 1 is a string, not a mapping; write "name: NAME" and a script or a func'],
        id="command as a step",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - script: echo\n",
        ['main.yml:4:5: step 1 has no name; add one, such as "name: build"'],
        id="step without a name",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: build-it\n    script: echo\n",
        [
            'main.yml:4:11: "name" of step "build-it" cannot be "build-it"; '
            "use letters, digits and _, and no digit first"
        ],
        id="bad name of a step",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    script: echo\n    func: ./hello\n",
        ['main.yml:6:5: step "a" has both "script" and "func"; keep one of them'],
        id="script and func",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    script: echo\n    inputs: {x: 1}\n",
        ['main.yml:6:5: step "a" has "inputs", which cannot be used with "script"; remove one of them'],
        id="script with inputs",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    script:\n",
        ['main.yml:5:12: "script" of step "a" is empty; write "script: |" and the commands on the lines below it'],
        id="empty script",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    action: actions/checkout@v4\n",
        ["main.yml:5:13: GitHub actions are not supported; run a function with func, or a script"],
        id="GitHub action",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    name: b\n    script: echo\n",
        ['main.yml:5:5: "name" is given twice, here and in line 4; remove one of them'],
        id="key twice",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    script: echo key: value\n",
        ['main.yml:5:21: a second ": " in one line; put the value in quotes'],
        id="colon in a script",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    script: 'echo it's'\n",
        ["main.yml:5:22: text follows the closing quotes; put quotes around the whole value"],
        id="quote in quotes",
    ),
    pytest.param(
        '{}\n---\nexec:\n  command: [echo, "hello]\n',
        ["main.yml:4:19: the quotes that are opened here are not closed; close them"],
        id="quotes that are not closed",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    env:\n      - A=b\n    script: echo\n",
        ['main.yml:6:7: "env" of step "a" is a list, not a mapping'],
        id="environment as a list",
    ),
    pytest.param(
        "spec: {outputs: delegate}\n---\nrun: [{name: build, script: x}]\ndelegate: biuld\n",
        ['main.yml:4:11: step "biuld" does not exist; did you mean "build"?'],
        id="delegate to an unknown step",
    ),
    pytest.param(
        "spec: {outputs: delegate}\n---\nrun: [{name: build, script: x}]\n",
        [
            "main.yml:3:1: the outputs are delegated, but to no step; "
            'add "delegate: NAME" with the name of a step'
        ],
        id="delegate to no step",
    ),
    pytest.param(
        "spec:\n  inputs:\n    age: {type: int}\n---\nexec: {command: [a]}\n",
        ['main.yml:3:17: "type" of input "age" cannot be "int"; known: array, boolean, number, string, struct'],
        id="bad name of a type",
    ),
    pytest.param(
        "spec:\n  inputs:\n    age: {type: number, default: young}\n---\nexec: {command: [a]}\n",
        [
            'main.yml:3:34: input "age": the default is of the type string, not number; '
            "write a default of the type number, or none"
        ],
        id="default of the wrong type",
    ),
    pytest.param(
        "spec:\n  inputs:\n    version: {type: string, default: 1.10}\n---\nexec: {command: [a]}\n",
        ['main.yml:3:38: input "version": the default is of the type number, not string; put it in quotes'],
        id="version without quotes",
    ),
    pytest.param(
        "spec:\n  inputs:\n    age:\n---\nexec: {command: [a]}\n",
        ['main.yml:3:9: input "age" has no type; write "string", "number", "boolean", "array" or "struct"'],
        id="input without a type",
    ),
    pytest.param(
        "spec:\n  inputs:\n    - age\n---\nexec: {command: [a]}\n",
        ['main.yml:3:5: "inputs" of "spec" is a list, not a mapping'],
        id="inputs as a list",
    ),
    pytest.param(
        "spec:\n  outputs: {n: {type: number}}\n---\nrun: [{name: a, script: b}]\n",
        ['main.yml:4:1: output "n" is declared, but not given; add it to outputs below run, or declare a default'],
        id="output that is never given",
    ),
    pytest.param(
        "{}\n---\nrun:\n  - name: a\n    func: .\n",
        [
            "main.yml:5:11: .: it has neither func.yml nor step.yml, but has main.yml; "
            "a function is a directory with func.yml or step.yml"
        ],
        id="directory without a function",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), MISTAKES)
def test_check_shows_each_mistake_with_its_cure(
    text: str, shown: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hello").mkdir()
    Path("hello/func.yml").write_text(HELLO)
    Path("main.yml").write_text(text)

    assert [str(problem) for problem in check(["main.yml"])] == shown
