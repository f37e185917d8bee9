#!/usr/bin/env bash
# Guess: what a shell needs to start grows with its environment in proportion, and is alike in all shells.
# Truth: `bash -c :` takes 25 to 50 times as long as `dash -c :` with 8,000 variables: most of a second, not 20 ms. From
#        2,000 to 8,000 variables, four times as many, it takes 15 times as long.
# Versions: bash 5.2.15 and dash 0.5.12 (Debian 12).
# Matters: steps that export much slow down every later step, each `make` recipe and each script below it, and no profile
#          of these programs shows it. A runner that passes results in files keeps scripts fast.
set -euo pipefail
dpkg-query -W bash dash
got=$(python3 - <<'PYTHON'
import subprocess, time

def fastest(shell: str, variables: int) -> float:
    """Return the shortest of five starts, in milliseconds."""
    environment = {f"VARIABLE_{number}": "v" for number in range(variables)}
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([f"/bin/{shell}", "-c", ":"], env=environment, check=True)
        times.append(1000 * (time.perf_counter() - began))
    return min(times)

few, many = fastest("bash", 2000), fastest("bash", 8000)
plain = fastest("dash", 8000)
print(f"bash: {few:.0f} ms with 2,000 variables, {many:.0f} ms with 8,000; dash: {plain:.0f} ms with 8,000")
print("bash is", "more" if many > 10 * plain else "at most", "than ten times as slow as dash")
print("four times the variables take", "more" if many > 7 * few else "at most", "than seven times as long")
PYTHON
)
echo "$got"
[ "$(grep -c more <<<"$got")" = 2 ] || { echo "changed: bash starts faster"; exit 1; }
