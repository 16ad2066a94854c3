#!/usr/bin/env bash
# Runs the built binary against reference implementations from PyPI, in an environment of their own under target/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}
environment=$target/reference-venv
requirements=tests/reference/requirements.txt

# By the way of a test of it, for that is how the tests before this have built it: alone, it would be built with other features of
# its dependencies, and so once more.
cargo test --locked --quiet --workspace --all-features --no-run --test serve
binary=$(realpath "$target/debug/eventrelay")

if ! cmp --silent "$requirements" "$environment/installed"; then
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements"
    cp "$requirements" "$environment/installed"
fi

for test in webhook_signatures cloudevents_sdk grpc_clients otlp_export; do
    TEST_BINARY=$binary "$environment/bin/python" "tests/reference/$test.py"
done
