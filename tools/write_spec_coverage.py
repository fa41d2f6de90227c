"""Write ``docs/spec_coverage.md`` from the routes of the server: run after adding an operation.

python -m tools.write_spec_coverage
"""

from __future__ import annotations

from tests.spec.coverage import PAGE, page


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
