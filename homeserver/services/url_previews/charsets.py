"""Bytes of a page to text.  Spec: WHATWG encoding standard, as far as pages need it."""

from __future__ import annotations

import codecs
import re

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Python's names of what pages are written in.  Other codecs stay out: some take long, or run more
# than a decoder.
_KNOWN = (
    "utf-8 utf-16 utf-16-le utf-16-be ascii iso8859-1 iso8859-2 iso8859-3 iso8859-4 iso8859-5 "
    "iso8859-6 iso8859-7 iso8859-8 iso8859-9 iso8859-10 iso8859-13 iso8859-14 iso8859-15 "
    "iso8859-16 cp866 cp874 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 "
    "koi8-r koi8-u mac-roman mac-cyrillic tis-620 gb2312 gbk gb18030 big5 big5hkscs euc_jp "
    "shift_jis cp932 iso2022_jp euc_kr cp949"
)
KNOWN = frozenset(_KNOWN.split())
# What pages say, and what they mean (WHATWG encoding standard, names and labels).
MEANT = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "utf-16": "utf-16-le",
}
FALLBACK = "cp1252"
LOOKED_AT = 4_096
_META = re.compile(
    rb"<meta[^>]{0,500}?charset\s{0,9}=\s{0,9}[\"']?\s{0,9}([A-Za-z0-9_:.-]{1,40})", re.I
)


def decode(content: bytes, declared: str | None) -> str:
    """A page's text: by its byte order mark, the header's charset, its own word, or what fits.

    Never fails; what cannot be decoded becomes U+FFFD.
    """
    for mark, name in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(name, "replace")
    found = _known(declared) or _from_meta(content)
    if found is not None:
        return content.decode(found, "replace")
    text = content.decode("utf-8", "replace")
    # a page that was cut may end within a character
    return text if "\ufffd" not in text[:-1] else content.decode(FALLBACK, "replace")


def _from_meta(content: bytes) -> str | None:
    match = _META.search(content[:LOOKED_AT])
    name = _known(match[1].decode("ascii")) if match is not None else None
    # a page that could be read so far is not in UTF-16
    return "utf-8" if name is not None and name.startswith("utf-16") else name


def _known(label: str | None) -> str | None:
    """The codec of a label; None for one that is not known."""
    if not label or len(label) > 40 or not label.isascii():
        return None
    try:
        name = codecs.lookup(label.strip(" \"'")).name
    except (LookupError, ValueError):
        return None
    return MEANT.get(name, name) if name in KNOWN else None
