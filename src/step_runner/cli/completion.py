"""`step-runner completion`: print the script by which a shell completes the commands."""

from __future__ import annotations

import click

EPILOG = """\b
Examples:
  source <(step-runner completion bash)                             # in ~/.bashrc
  source <(step-runner completion zsh)                              # in ~/.zshrc, after compinit
  step-runner completion fish > ~/.config/fish/completions/step-runner.fish"""

BASH = """\
_step_runner_completion() {
    local line lines value
    COMPREPLY=()
    mapfile -t lines < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \\
        _STEP_RUNNER_COMPLETE=bash_complete "$1" 2>/dev/null)
    for line in "${lines[@]}"; do
        value=${line#*,}
        case $line in
            file,*) compopt -o default ;;
            dir,*) compopt -o dirnames ;;
            *=) compopt -o nospace; COMPREPLY+=("$value") ;;
            *) COMPREPLY+=("$(printf %q "$value")") ;;
        esac
    done
}
complete -o nosort -F _step_runner_completion step-runner
"""

ZSH = """\
#compdef step-runner
_step_runner_completion() {
    local kind value help
    local -a response described bare open
    response=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \\
        _STEP_RUNNER_COMPLETE=zsh_complete $words[1] 2>/dev/null)}")
    for kind value help in "${response[@]}"; do
        case $kind in
            file) _path_files -f ;;
            dir) _path_files -/ ;;
            plain)
                if [[ $value == *= ]]; then open+=("$value")
                elif [[ $help == _ ]]; then bare+=("$value")
                else described+=("$value:$help")
                fi ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described -U
    (( $#bare )) && compadd -U -V unsorted -a bare
    (( $#open )) && compadd -U -V unsorted -S '' -a open
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _step_runner_completion "$@"
else
    compdef _step_runner_completion step-runner
fi
"""

FISH = """\
function _step_runner_completion
    set -l program (commandline -opc)[1]
    for line in (COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) \\
            _STEP_RUNNER_COMPLETE=fish_complete $program 2>/dev/null)
        set -l parts (string split -m 1 , $line)
        switch $parts[1]
            case file
                __fish_complete_path $parts[2]
            case dir
                __fish_complete_directories $parts[2]
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --command step-runner --arguments '(_step_runner_completion)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


@click.command("completion", epilog=EPILOG)
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
def command(shell: str) -> None:
    """Print the script by which a shell completes commands, options, files, job ids, and inputs of functions.

    It needs bash 4.4, zsh 5 or fish 3, or a newer version.
    """
    click.echo(SCRIPTS[shell], nl=False)
