"""What the documentation promises is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "consent-and-policy.md"
DOORS = "tests/interop/test_consent_doors.py"
ROW = re.compile(r"`(test_\w+)`(?: \(`(tests/[\w/]+\.py)`\))? \|$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")


def test_each_door_of_the_table_is_a_test() -> None:
    rows = ROW.findall(TABLE.read_text("utf-8"))

    assert len(rows) > 10
    for name, file in rows:
        text = (ROOT / (file or DOORS)).read_text("utf-8")
        assert f"async def {name}(" in text, f"{file or DOORS} has no {name}"


def test_each_page_about_the_api_is_in_its_index() -> None:
    links = set(LINK.findall((ROOT / "docs" / "conversations-api.md").read_text("utf-8")))

    missing = {f"api/{page.name}" for page in (ROOT / "docs" / "api").glob("*.md")} - links

    assert missing == set()


def test_links_lead_somewhere() -> None:
    docs = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    pages = [ROOT / "README.md", *sorted(docs)]

    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in LINK.findall(page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]

    assert broken == []


def test_the_tests_of_who_may_read_what_are_there() -> None:
    text = (ROOT / "docs" / "visibility.md").read_text("utf-8")
    files = re.findall(r"`(test_\w+\.py)`", text)
    places = [ROOT / "tests" / "integration", ROOT / "tests" / "protocol"]

    assert len(files) > 5
    assert [f for f in files if not any((place / f).exists() for place in places)] == []
