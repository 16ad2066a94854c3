#!/usr/bin/env bash
# Licences, banned crates and sources, by deny.toml. Compiling cargo-deny takes longer than the rest of the lint, so it is
# used where it is installed; the bans that matter most are checked here in any case.
set -euo pipefail

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
