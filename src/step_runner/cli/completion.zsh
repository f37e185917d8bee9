#compdef step-runner
_step_runner_completion() {
    local kind value help
    local -a response described bare open
    response=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) \
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
