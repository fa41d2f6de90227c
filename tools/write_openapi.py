"""Writes the OpenAPI document: ``python -m tools.write_openapi FILE``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from client_api.conversations.openapi import document
from client_api.conversations.rest import ALL


def main() -> None:
    """Write it to the file that is named."""
    text = json.dumps(document(ALL, "https://chat.example"), indent=1)
    Path(sys.argv[1]).write_text(text)


if __name__ == "__main__":
    main()
