"""What is read from pages, good and bad ones."""

from __future__ import annotations

import contextlib
import time
import unicodedata

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from homeserver.errors import MatrixError
from homeserver.services.url_previews.charsets import decode
from homeserver.services.url_previews.composing import (
    DROPPED,
    JOINERS,
    MAX_LONG,
    MAX_PICTURES,
    clean,
    compose_file,
    compose_page,
    compose_text,
)
from homeserver.services.url_previews.oembed import parse_embed
from homeserver.services.url_previews.pages import MAX_VALUE, parse_page
from homeserver.services.url_previews.urls import UrlRules

RULES = UrlRules(ports=[80, 443], allow_hosts=None, deny_hosts=["*.bad.test"])
HERE = URL("https://site.test/dir/page?x=1")
MEGABYTE = 1 << 20


def shown(text: str) -> dict[str, object]:
    """What clients are told of a page, without pictures."""
    return dict(compose_page(parse_page(text), HERE, RULES).properties)


def pictures(text: str) -> list[str]:
    """Which pictures a page may be shown with."""
    return [str(url) for url in compose_page(parse_page(text), HERE, RULES).pictures]


def test_opengraph_goes_before_all_else() -> None:
    page = """
        <html prefix="og: https://ogp.me/ns#"><head><title>Title</title>
        <meta name="twitter:title" content="Tweet"><meta property="og:title" content="Open">
        <meta name="description" content="Plain"><meta property="og:description" content="Graph">
        <meta property="og:locale" content="de_AT"><meta property="article:author" content="Ada">
        <meta property="og:title" content="Second">"""

    assert shown(page) == {
        "og:title": "Open",
        "og:description": "Graph",
        "og:locale": "de_AT",
        "article:author": "Ada",
    }


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<title>Title</title><meta name=twitter:title content=Tweet>", "Tweet"),
        ("<title>\n  A   title\n</title><h1>Head</h1>", "A title"),
        ("<title></title><h1>Head <em>line</em></h1>", "Head line"),
        ("<svg><title>Icon</title></svg><title>Page</title>", "Page"),
        ("<title>a &lt;b&gt; &amp;c &eacute;</title>", "a <b> &c é"),
        ("<title>never closed", "never closed"),
        ("<TITLE>Loud</TITLE>", "Loud"),
        ("<html><body><title>late</title>", "late"),
        ("<title>\u202eevil\u202c \x1b[31m</title>", "evil [31m"),
        ("<meta property='OG:Title' content='Case'>", "Case"),
        ("<script>var a = '<title>no</title>'</script><title>yes</title>", "yes"),
        ("<!-- <title>no</title> --><title>yes</title>", "yes"),
        ("<p>no title at all</p>", None),
        ("", None),
    ],
)
def test_the_title_is_found_where_there_is_one(page: str, title: str | None) -> None:
    assert shown(page).get("og:title") == title


def test_without_a_description_the_first_paragraphs_are_taken() -> None:
    page = """<title>x</title><body><nav><p>Home, about us, contact and so on and on</p></nav>
        <script>document.write("a long line that nobody should ever see")</script>
        <style>.a { content: "nor this one, which is about style" }</style>
        <p>short</p><p>The first paragraph is <b>long</b> enough to be shown.</p>
        <div>So is this one, which is no paragraph in name.</div>
        <footer>Imprint, privacy, all the usual things at the end</footer>"""

    assert shown(page)["og:description"] == (
        "The first paragraph is long enough to be shown. "
        "So is this one, which is no paragraph in name."
    )


def test_long_texts_end_at_a_word() -> None:
    text = clean("many words " * 1000, 50)

    assert len(text) <= 50
    assert text.endswith("many words many…")


def test_pictures_come_in_the_order_of_their_worth_and_from_web_addresses_alone() -> None:
    page = """<base href="/base/"><link rel="shortcut icon" href="i.ico">
        <link rel="apple-touch-icon" href="touch.png"><meta name=twitter:image content=t.png>
        <meta property=og:image content=o.png><meta property=og:image:url content=data:,x>
        <meta property=og:image:secure_url content=https://www.bad.test/x.png>
        <body><img src="data:image/png;base64,AAAA"><img src=tiny.gif width=1><img src=b.png>"""

    assert pictures(page) == [
        "https://site.test/base/o.png",
        "https://site.test/base/t.png",
        "https://site.test/base/b.png",
    ]
    assert pictures("<link rel='icon' href='/i.png'>") == ["https://site.test/i.png"]
    assert pictures("<base href='javascript:x'><img src=a.png>") == ["https://site.test/dir/a.png"]


def test_addresses_that_are_no_web_addresses_are_left_out() -> None:
    page = """<meta property=og:url content="javascript:alert(1)">
        <meta property=og:video content="file:///etc/passwd"><meta property=og:audio content=/a.ogg>
        <meta property=og:see_also content="https://u:p@site.test/">"""

    assert shown(page) == {"og:audio": "https://site.test/a.ogg"}


def test_only_words_of_opengraph_are_passed_on() -> None:
    page = """<meta property="og:matrix:image:size" content=1><meta property="matrix:image:size"
        content=7><meta name=keywords content=a><meta property="og:" content=x>
        <meta property="og:image" content=/x.png><meta property="og:image:width" content=9>"""

    assert shown(page) == {"og:matrix:image:size": "1"}


def test_files_are_called_by_their_names() -> None:
    film = compose_file(URL("https://site.test/a%20%E2%82%AC.webm?x"), "video/webm").properties

    assert film["og:title"] == "a €.webm"
    assert film["og:video:type"] == "video/webm"
    assert compose_file(URL("https://site.test/"), "application/zip").properties == {}
    assert compose_text(URL("https://site.test/a.txt"), "one\ntwo").properties == {
        "og:title": "a.txt",
        "og:description": "one two",
    }


@pytest.mark.parametrize(
    ("content", "declared", "text"),
    [
        ("ö".encode(), None, "ö"),
        ("größe".encode("latin-1"), None, "größe"),
        ("ö".encode("latin-1"), "ISO-8859-1", "ö"),
        ("“".encode("cp1252"), "iso-8859-1", "“"),
        ("ö".encode("utf-16"), None, "ö"),
        ("ö".encode("utf-8-sig"), "latin-1", "ö"),
        ("ö".encode(), "no-such-thing", "ö"),
        ("ö".encode(), "zlib_codec", "ö"),
        ("ö".encode(), "unicode_escape", "ö"),
        ("ö".encode(), "a" * 100_000, "ö"),
        ("ö".encode(), "ü", "ö"),
        ("ö".encode(), "a\0b", "ö"),
        ("ö".encode()[:1], "utf-8", "\ufffd"),
        ("end €".encode()[:-1], None, "end \ufffd"),
        ("<meta charset='gbk'>中文".encode("gb18030"), None, "<meta charset='gbk'>中文"),
        (b"<meta charset=utf-16>x", None, "<meta charset=utf-16>x"),
        (b"<meta charset=rot13>x", None, "<meta charset=rot13>x"),
    ],
)
def test_text_is_decoded_by_what_is_known_of_it(
    content: bytes, declared: str | None, text: str
) -> None:
    assert decode(content, declared) == text


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"null", b"{", b'{"title": 1}', b"\xff", b'{"html": "<div>"}', b"[" * 200_000],
)
def test_an_oembed_document_may_be_anything(document: bytes) -> None:
    embed = parse_embed(document)

    assert (embed.title, embed.provider, embed.text, embed.picture) == ("", "", "", "")


# ---------------------------------------------------------------- hostile pages

HOSTILE = {
    "nested": "<div>" * 200_000,
    "nested and closed": "<div>" * 100_000 + "</p>" * 100_000,
    "formatting": "<a><b><i><font>" * 60_000,
    "tables": "<table><tr><td>" * 60_000,
    "attributes": "<a " + " ".join(f"a{n:x}" for n in range(150_000)) + ">",
    "quoted attributes": "<a " + " ".join(f'a{n:x}=">"' for n in range(90_000)) + ">",
    "one attribute": '<a x="' + "y" * MEGABYTE,
    "comment": "<!--" * (MEGABYTE // 4),
    "brackets": "<" * MEGABYTE,
    "entities": "<title>" + "&amp;" * (MEGABYTE // 5),
    "long entity": "&" + "a" * MEGABYTE,
    "numbers": "&#1" * (MEGABYTE // 3),
    "unclosed": "<p>" + "</x>" * (MEGABYTE // 4),
    "deep end tags": "<div>" * 390 + "</p>" * (MEGABYTE // 4),
    "metas": "<meta name=a content=b>" * (MEGABYTE // 23),
    "names": "<meta property='" + "og:a " * (MEGABYTE // 5) + "' content=x>",
    "spaces": " " * MEGABYTE,
    "nulls": "\0" * MEGABYTE,
    "scripts": "<script>" * (MEGABYTE // 8),
    "processing": "<?a " * (MEGABYTE // 4),
    "cdata": "<![CDATA[" * (MEGABYTE // 9),
    "surrogates": "<title>&#xD800;&#xDFFF;&#x110000;&#0;</title>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_page_takes_long(name: str) -> None:
    used = time.thread_time()

    properties = shown(HOSTILE[name])

    assert time.thread_time() - used < 10  # seconds of computing, of which most need a hundredth
    assert len(orjson.dumps(properties)) < 100_000


_PIECES = (
    "< > </ /> <!-- --> <title> </title> <script> </script> <p> </p> <body> </body> <html> <svg> "
    "<meta\tproperty=og:title\tcontent= <meta\tname=description\tcontent= <base\thref= "
    "<img\tsrc= <link\trel=icon\thref= &amp; &#x0; &#xD800; \0 \" ' = // http:// <![CDATA[ <? "
    "<!DOCTYPE \ufffe \u202e \ud800 og:image [ @ :99999999"
)
PIECES = st.sampled_from(_PIECES.split(" "))


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES | st.text(max_size=12), max_size=60).map("".join))
@example("<base href=http://[><img src=//[>")
@example("<meta property=og:url content=http://a:b>")
def test_whatever_a_page_is_what_is_told_is_small_and_clean(text: str) -> None:
    page = parse_page(text)
    composed = compose_page(page, HERE, RULES, parse_embed(orjson.dumps({"html": "<p>x"})))

    assert all(len(value) <= MAX_VALUE for value in page.properties.values())
    assert len(composed.pictures) <= MAX_PICTURES
    assert all(picture.scheme in ("http", "https") for picture in composed.pictures)
    for value in composed.properties.values():
        assert isinstance(value, str)
        assert 0 < len(value) <= max(MAX_LONG, MAX_VALUE)
        assert not {unicodedata.category(c) for c in value if c not in JOINERS} & DROPPED
    assert orjson.loads(orjson.dumps(composed.properties)) == composed.properties


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.none() | st.text(max_size=50))
def test_whatever_bytes_come_they_are_read(content: bytes, declared: str | None) -> None:
    text = decode(content, declared)

    parse_page(text)
    parse_embed(content)
    compose_text(HERE, text)


URL_PIECES = st.sampled_from(
    [
        "http://",
        "https://",
        "http:",
        "//",
        "[",
        "]",
        "@",
        ":",
        "/",
        "%",
        "%zz",
        "%00",
        "xn--",
        "xn--a",
        "..",
        "?",
        "#",
        "\\",
        "１",
        "。",
        "ß",
        "::1",
        "%25",
        "*",
        ".",
        "-",
        "443",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(URL_PIECES | st.text(max_size=5), max_size=10).map("".join))
@example("http://[]@")
@example("//[]@")
def test_whatever_is_linked_to_is_a_web_address_or_nothing(text: str) -> None:
    for form in (text, f"http://{text}"):
        joined = RULES.join(HERE, form)
        with contextlib.suppress(MatrixError):
            RULES.parse(form)

        assert joined is None or RULES.parse(str(joined)) == joined
