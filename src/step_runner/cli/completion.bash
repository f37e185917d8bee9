_step_runner_completion() {
    local line lines value
    COMPREPLY=()
    mapfile -t lines < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \
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
