"""What mails look like: a few paragraphs, perhaps a button; as text, and as HTML.

The words are the caller's; whatever they have of somebody else's making is escaped here.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from msgspec import Struct

HTML = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body style="font-family: sans-serif; line-height: 1.5; max-width: 36em; margin: 1em auto">
<h1 style="font-size: 1.3em">{title}</h1>
{paragraphs}
<p style="color: #666; font-size: 0.85em">{footer}</p>
</body>
</html>
"""
PARAGRAPH = "<p>{text}</p>"
BUTTON = (
    '<p><a href="{url}" style="display: inline-block; padding: 0.6em 1.2em; border-radius: 0.3em; '
    'background: #155e75; color: #fff; text-decoration: none">{label}</a></p>\n'
    '<p style="color: #666; font-size: 0.85em">Or open this address: {url}</p>'
)


class Button(Struct, frozen=True):
    """A link that does something."""

    label: str
    url: str


def in_both_forms(title: str, parts: Sequence[str | Button], footer: str) -> tuple[str, str]:
    """The mail's text and its HTML."""
    plain = [part if isinstance(part, str) else f"{part.label}:\n{part.url}" for part in parts]
    text = "\n\n".join([*plain, f"-- \n{footer}"]) + "\n"
    return text, HTML.format(
        title=html.escape(title),
        paragraphs="\n".join(_paragraph(part) for part in parts),
        footer=html.escape(footer),
    )


def _paragraph(part: str | Button) -> str:
    if isinstance(part, str):
        return PARAGRAPH.format(text=html.escape(part).replace("\n", "<br>"))
    return BUTTON.format(url=html.escape(part.url), label=html.escape(part.label))
