function _step_runner_completion
    set -l program (commandline -opc)[1]
    for line in (COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) \
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
