"""E-mail addresses as they are compared, and as they may stand in a header.

Spec: appendices, 3PID types: an e-mail address is compared by its canonical form, in which each
character is case folded.
"""

from __future__ import annotations

import re
from email.errors import HeaderParseError
from email.headerregistry import Address

LONGEST_ADDRESS = 254
LONGEST_LOCAL_PART = 64
LONGEST_NAME = 100
# RFC 5321's dot-atoms, and letters of any script (RFC 6531); no quotes, comments or literals.
_LOCAL_PART = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*")
_LABEL = re.compile(r"[^\W_]([\w-]{0,61}[^\W_])?")


_NOT_PRINTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_FROM = re.compile(r"\s*(?:\"?([^<>\"]*?)\"?\s*<([^<>\s]+)>|([^<>\s]+))\s*")


class InvalidEmailAddress(ValueError):
    """The text is no e-mail address that mail can be sent to."""


def canonical_email(text: str) -> str:
    """An e-mail address in its canonical form.  Raises: :class:`InvalidEmailAddress`."""
    address = text.strip(" ").casefold()
    local_part, at, domain = address.rpartition("@")
    labels = domain.split(".")
    if (
        not at
        or len(address.encode("utf-8", "surrogatepass")) > LONGEST_ADDRESS
        or len(local_part) > LONGEST_LOCAL_PART
        or _LOCAL_PART.fullmatch(local_part) is None
        or not all(_LABEL.fullmatch(label) for label in labels)
    ):
        raise InvalidEmailAddress("That is not an e-mail address")
    return address


def email_domain(address: str) -> str:
    """The domain of an e-mail address."""
    return address.rpartition("@")[2]


def shown_email(address: str) -> str:
    """An address as a log may have it: enough to recognise one's own, too little to write to."""
    local_part, _, domain = address.rpartition("@")
    return f"{local_part[:1]}...@{domain[:1]}..."


def parse_sender(text: str) -> Address:
    """``Name <address>``, or an address alone.  Raises :class:`InvalidEmailAddress`."""
    match = _FROM.fullmatch(text)
    if match is None:
        raise InvalidEmailAddress("found no address; allowed: Name <address>, or an address")
    name, address = one_line(match[1] or "", LONGEST_NAME), match[2] or match[3]
    return header_address(address, name)


def header_address(address: str, name: str = "") -> Address:
    """An address for a header, its domain as DNS has it.  Raises :class:`InvalidEmailAddress`."""
    canonical_email(address)
    local_part, _, domain = address.strip(" ").rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode("ascii")
        return Address(name, local_part, ascii_domain)
    except (UnicodeError, HeaderParseError, ValueError) as error:
        raise InvalidEmailAddress("That is not an e-mail address") from error


def one_line(text: str, longest: int) -> str:
    """A text that fits into a header."""
    return _NOT_PRINTED.sub(" ", text).strip()[:longest]
