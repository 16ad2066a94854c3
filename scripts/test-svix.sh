#!/usr/bin/env bash
# Asks the built binary with the SDKs of Svix from PyPI and npm, in environments of their own under target/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(realpath "${CARGO_TARGET_DIR:-target}")
python=$target/svix-venv
node=$target/svix-node

# By the way of a test of it, for that is how the tests before this have built it: alone, it would be built with other features of
# its dependencies, and so once more.
cargo test --locked --quiet --workspace --all-features --no-run --test serve
export TEST_BINARY=$target/debug/eventrelay

if ! cmp --silent tests/svix/requirements.txt "$python/installed"; then
    rm -rf "$python"
    python3 -m venv "$python"
    "$python/bin/pip" install --quiet --disable-pip-version-check --requirement tests/svix/requirements.txt
    cp tests/svix/requirements.txt "$python/installed"
fi
if ! cmp --silent tests/svix/package.json "$node/installed"; then
    rm -rf "$node"
    mkdir -p "$node"
    cp tests/svix/package.json "$node/package.json"
    npm install --silent --no-audit --no-fund --no-package-lock --prefix "$node"
    cp tests/svix/package.json "$node/installed"
fi

"$python/bin/python" tests/svix/python_sdk.py "$@"
# Modules are looked for beside the file.
cp tests/svix/node_sdk.mjs "$node/"
node --test "$node/node_sdk.mjs"
