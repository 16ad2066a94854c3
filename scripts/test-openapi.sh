#!/usr/bin/env bash
# Holds the built binary to its own OpenAPI document with schemathesis from PyPI, in an environment under target/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}
environment=$target/openapi-venv
requirements=tests/openapi/requirements.txt

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
hooks=$(realpath tests/openapi/hooks.py)
schemathesis=$(realpath "$environment/bin/schemathesis")

directory=$(mktemp -d)
server=
stop() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$directory"
}
trap stop EXIT

cd "$directory"
# Of the caller's settings, which the server would take, none.
unset "${!EVENTRELAY_@}" "${!OTEL_@}"
"$binary" keys generate >bootstrap.key
cat >eventrelay.toml <<END
[auth]
required = true
bootstrap_key_file = "bootstrap.key"
[log]
segment_bytes = 1048576
max_commit_bytes = 262144
[publish]
max_event_bytes = 131072
[tcp]
frames_listen = "off"
[[subscriptions]]
name = "jobs"
END
EVENTRELAY_GRPC__LISTEN=127.0.0.1:0 "$binary" serve --http-listen 127.0.0.1:0 >server.log 2>&1 &
server=$!

url=
for _ in $(seq 100); do
    url=$(grep -oE 'http://127\.0\.0\.1:[0-9]+' server.log | head -n 1 || true)
    if [ -n "$url" ]; then break; fi
    sleep 0.1
done
if [ -z "$url" ]; then
    cat server.log >&2
    exit 1
fi

# Not looked at: the log as a stream, which never ends, and a stream of events, which is answered before its body is read. Nor is
# `ignored_auth` among the checks: it takes away one of the two ways to show a key, and the other is still good.
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance
checks+=,response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance
SCHEMATHESIS_HOOKS=$hooks timeout 180 "$schemathesis" run "$url/v1/openapi.json" --phases examples,coverage,fuzzing --checks "$checks" \
    --exclude-path /v1/events/stream --max-examples 50 --seed 1 --request-timeout 10 --no-color --continue-on-failure \
    --header "authorization: Bearer $(cat bootstrap.key)" "$@"
