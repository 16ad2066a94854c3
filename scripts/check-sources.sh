#!/usr/bin/env bash
# The layout rules that no compiler checks: file length, telling names, scripts that parse, no leftovers.
set -euo pipefail

failed=0
complain() {
    if [ -n "$2" ]; then
        printf '%s\n%s\n\n' "$1" "$2" >&2
        failed=1
    fi
}

mapfile -t rust_files < <(git ls-files '*.rs')

long=$(for file in "${rust_files[@]}"; do
    lines=$(wc -l <"$file")
    if [ "$lines" -gt 800 ]; then echo "  $file: $lines lines"; fi
done)
complain "Files over 800 lines (one file, one idea):" "$long"

# The contracts of OTLP keep the names that OpenTelemetry gave them.
complain "Names that say nothing:" \
    "$(git ls-files -- ':!proto/opentelemetry' | grep -E '(^|/)(utils?|common|helpers?|misc)(\.[a-z]+|/)' || true)"

# Built from parts, so that this file does not find itself.
leftovers="TO""DO|FIX""ME|X""XX"
complain "Leftovers:" "$(git grep -nE "\\b($leftovers)\\b" -- '*.rs' '*.sh' '*.py' || true)"

complain "Sleeping or ignored tests:" \
    "$(git grep -nE '#\[ignore|thread::sleep' -- '*/tests/*' '*tests.rs' || true)"

while IFS= read -r script; do
    bash -n "$script" || failed=1
done < <(git ls-files '*.sh' '.ci/run')

exit "$failed"
