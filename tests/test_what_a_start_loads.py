"""An idle server has not loaded what few need: it would take more memory than its budget."""

from __future__ import annotations

import subprocess
import sys

SELDOM_NEEDED = (
    *("PIL", "cryptography", "lxml", "nh3", "markdown_it", "segno", "strawberry", "graphql"),
    *("obstore", "joserfc.jwk", "jsonschema"),
)


def test_large_libraries_are_loaded_when_they_are_first_needed() -> None:
    script = "import sys, homeserver.cli.up, homeserver.app; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()

    assert "homeserver.app" in loaded
    assert set(SELDOM_NEEDED).isdisjoint(loaded)
