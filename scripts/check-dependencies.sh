#!/usr/bin/env bash
# Which crate of the workspace may know which, as ARCHITECTURE.md draws it; licences, banned crates and sources, by deny.toml. Compiling cargo-deny takes longer than the rest of the lint, so it is
# used where it is installed; the bans that matter most are checked here in any case.
set -euo pipefail

# Arrows point down only.
declare -A allowed=(
    [event]=""
    [expression]="event"
    [log]=""
    [state]="event expression"
    [sinks]="event"
    [telemetry]="event"
    [fuzz]=""
    [ingest]="event log telemetry"
    [delivery]="event expression log state sinks telemetry"
    [server]="event expression log state sinks telemetry ingest delivery"
    [eventrelay]="event expression log state sinks telemetry ingest delivery server"
)
for manifest in crates/*/Cargo.toml; do
    crate=$(basename "$(dirname "$manifest")")
    if [ -z "${allowed[$crate]+known}" ]; then
        echo "crates/$crate has no place in ARCHITECTURE.md's layout (and in $0)" >&2
        exit 1
    fi
    used=$(awk '/^\[/ { section = $0 } section == "[dependencies]" && /^eventrelay-/ { sub(/^eventrelay-/, ""); sub(/[^a-z].*/, ""); print }' "$manifest")
    for dependency in $used; do
        if [[ " ${allowed[$crate]} " != *" $dependency "* ]]; then
            echo "crates/$crate must not depend on crates/$dependency (see ARCHITECTURE.md)" >&2
            exit 1
        fi
    done
done

for banned in ring openssl-sys native-tls; do
    # The lock file also names what no enabled feature uses; the tree does not.
    users=$(cargo tree --locked --workspace --edges normal,build,dev --invert "$banned" 2>/dev/null || true)
    if [ -n "$users" ]; then
        printf 'banned crate in the dependency graph (see deny.toml):\n%s\n' "$users" >&2
        exit 1
    fi
done

if command -v cargo-deny >/dev/null; then
    cargo deny --locked check bans licenses sources
else
    echo "cargo-deny is not installed: licences were not checked (cargo install cargo-deny --locked)"
fi
