"""What schemathesis must know: bodies of our own media types are texts, and a pull may wait for half a minute."""

import schemathesis

schemathesis.serializer.alias("application/toml", "text/plain")
schemathesis.serializer.alias("application/x-ndjson", "text/plain")

TEXTS = ("application/toml", "application/x-ndjson")
# A pull that is good waits for as long as it asks to, which may be 30 s; a longer wait is refused at once.
WAITS_MS = range(100, 30_001)


@schemathesis.hook
def filter_case(context, case):
    """Whatever is sent as a text is one, so there is no wrong type to refuse; and nobody waits for long."""
    if case.media_type in TEXTS and not isinstance(case.body, str):
        return False
    wait_ms = case.body.get("wait_ms") if isinstance(case.body, dict) else None
    return not isinstance(wait_ms, (int, float)) or wait_ms not in WAITS_MS
