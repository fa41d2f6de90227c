"""What is written to people about their e-mail addresses.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from homeserver.services.mail.templates import Button, in_both_forms

REGISTER, PASSWORD, ADD = "register", "password", "add"

IGNORE = "If it was not you, ignore this mail: nothing happens without the link above."
ASKED_FOR = {
    REGISTER: "Somebody, hopefully you, is making an account on {server} with this address.",
    PASSWORD: "Somebody, hopefully you, wants a new password for the account {user} on {server}.",
    ADD: "Somebody, hopefully you, is adding this address to an account on {server}.",
}
SUBJECTS = {
    REGISTER: "Confirm your e-mail address for {server}",
    PASSWORD: "A new password on {server}",
    ADD: "Confirm your e-mail address for {server}",
}
BUTTONS = {
    REGISTER: "Confirm the address",
    PASSWORD: "Go on to a new password",
    ADD: "Confirm the address",
}
FOOTER = "Sent by {server}, because your address was entered there."


class Written(Struct, frozen=True):
    """A mail's words."""

    subject: str
    text: str
    html: str


def validation(purpose: str, server: str, link: str, user_id: str | None) -> Written:
    """The mail with the link that shows that the address is the reader's."""
    asked = ASKED_FOR[purpose].format(server=server, user=user_id or "")
    parts: list[str | Button] = [asked, Button(BUTTONS[purpose], link), IGNORE]
    return _written(SUBJECTS[purpose].format(server=server), parts, server)


def in_use(purpose: str, server: str, user_id: str) -> Written:
    """The mail in the place of a link, where the address is an account's already."""
    subject = f"You have an account on {server}"
    asked = ASKED_FOR[purpose].format(server=server, user=user_id)
    known = (
        f"But it belongs to the account {user_id} already. If you do not know its password any "
        "more, ask for a new one in your app."
    )
    parts = [asked, known, "If it was not you, ignore this mail: nothing was changed."]
    return _written(subject, parts, server)


def no_account(server: str) -> Written:
    """The mail in the place of a link for a new password, where the address is no account's."""
    asked = f"Somebody, hopefully you, wants a new password for an account on {server}."
    known = (
        "But no account there has this address. Perhaps you have used another address, or have no "
        "account there yet."
    )
    return _written(f"No account on {server} has this address", [asked, known], server)


def password_changed(server: str, user_id: str) -> Written:
    """The mail to all addresses of somebody who has another password now."""
    done = f"The password of your account {user_id} on {server} was changed."
    advice = "If it was not you, ask for a new password in your app, and see who reads your mail."
    return _written(f"Your password on {server} was changed", [done, advice], server)


def address_added(server: str, user_id: str) -> Written:
    """The mail to the other addresses of somebody who has added one."""
    done = f"An e-mail address was added to your account {user_id} on {server}."
    advice = "If it was not you, change your password, and remove the address in your settings."
    return _written(f"An address was added to your account on {server}", [done, advice], server)


def address_removed(server: str, user_id: str) -> Written:
    """The mail to all addresses of somebody who has taken one away, that one as well."""
    done = f"An e-mail address was taken away from your account {user_id} on {server}."
    advice = "If it was not you, change your password, and look at the addresses in your settings."
    subject = f"An address was taken away from your account on {server}"
    return _written(subject, [done, advice], server)


def _written(subject: str, parts: Sequence[str | Button], server: str) -> Written:
    text, html = in_both_forms(subject, parts, FOOTER.format(server=server))
    return Written(subject, text, html)
