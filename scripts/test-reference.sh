#!/usr/bin/env bash
# Runs the built binary against reference implementations from PyPI, in an environment of their own under target/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}
environment=$target/reference-venv
requirements=tests/reference/requirements.txt

# Built by the tests before this, so usually there is nothing to do.
# With all features, as the other tests have built it already.
cargo build --locked --quiet --all-features --bin eventrelay
binary=$(realpath "$target/debug/eventrelay")

if ! cmp --silent "$requirements" "$environment/installed"; then
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements"
    cp "$requirements" "$environment/installed"
fi

for test in webhook_signatures cloudevents_sdk grpc_clients otlp_export; do
    EVENTRELAY_BINARY=$binary "$environment/bin/python" "tests/reference/$test.py"
done
