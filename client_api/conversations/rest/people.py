"""People: profiles, search, oneself, contacts, who is blocked."""

from __future__ import annotations

from client_api.conversations import people_keys as keys
from client_api.conversations.answers import check_unchanged
from client_api.conversations.api import Api, Call
from homeserver.app_keys import RATE_LIMITS
from homeserver.services.conversations.shapes.pages import Page, make_cursor, parse_cursor
from homeserver.services.conversations.shapes.people import (
    Blocked,
    Contact,
    ListQuery,
    Me,
    MyChanges,
    NewContact,
    PeopleQuery,
    Person,
    Profile,
)

api = Api("People", "Profiles, search, contacts, who is blocked.")


@api.get("/people", scope="people:read")
async def search_people(call: Call[None, PeopleQuery]) -> Page[Person]:
    """Find people by the beginnings of words of their name or address.

    Of this instance, and those of others who share a conversation with the caller; not those who
    take no messages from the caller. Whole words come first.
    """
    call.app[RATE_LIMITS].check("people_search", call.user_id)
    query = call.query
    offset = parse_cursor(query.cursor, int)[0] if query.cursor is not None else 0
    people, following = await call.app[keys.PEOPLE].find(
        call.user_id, query.query, limit=query.limit, offset=max(0, offset)
    )
    return Page(items=people, next=make_cursor(following) if following is not None else None)


@api.get("/people/{person}", scope="people:read")
async def get_person(call: Call) -> Profile:
    """Show somebody's profile, of this instance or another."""
    call.app[RATE_LIMITS].check("profile", call.user_id)
    return await call.app[keys.PEOPLE].get(call.user_id, call.person())


@api.get("/me", scope="people:read")
async def get_me(call: Call) -> Me:
    """Show the caller's own profile."""
    return await call.app[keys.PEOPLE].me(call.user_id)


@api.patch("/me", scope="people:write")
async def change_me(call: Call[MyChanges]) -> Me:
    """Change the caller's name, avatar (a media ID), status text or time zone.

    What is not named stays as it is; null takes it away. With `If-Match` only if nothing has
    changed since it was read.
    """
    people = call.app[keys.PEOPLE]
    if call.request.if_match:
        check_unchanged(call.request, await people.me(call.user_id))
    return await people.change_me(call.user_id, call.body)


# ---------------------------------------------------------------- contacts


@api.get("/contacts", scope="people:read")
async def list_contacts(call: Call[None, ListQuery]) -> Page[Contact]:
    """List the caller's contacts: who may always write to them."""
    return await call.app[keys.CONTACTS].list(
        call.user_id, after=_after(call.query), limit=call.query.limit
    )


@api.get("/contacts/{person}", scope="people:read")
async def get_contact(call: Call) -> Contact:
    """Show one contact."""
    return await call.app[keys.CONTACTS].get(call.user_id, call.person())


@api.put("/contacts/{person}", scope="people:write")
async def put_contact(call: Call[NewContact]) -> Contact:
    """Add a contact, or change the note on one.

    Whoever waits for the caller's answer is let in by it; who was blocked is so no longer.
    """
    return await call.app[keys.CONTACTS].put(call.user_id, call.person(), call.body.note)


@api.delete("/contacts/{person}", scope="people:write")
async def delete_contact(call: Call) -> None:
    """Remove a contact: what the caller answers to people like them counts again."""
    await call.app[keys.CONTACTS].remove(call.user_id, call.person())


# ---------------------------------------------------------------- blocked people


@api.get("/blocked", scope="people:read")
async def list_blocked(call: Call[None, ListQuery]) -> Page[Blocked]:
    """List whom the caller has blocked."""
    return await call.app[keys.CONTACTS].blocked(
        call.user_id, after=_after(call.query), limit=call.query.limit
    )


@api.put("/blocked/{person}", scope="people:write")
async def block_person(call: Call) -> None:
    """Block somebody: they cannot write to the caller, who sees nothing more of them."""
    await call.app[keys.CONTACTS].block(call.user_id, call.person())


@api.delete("/blocked/{person}", scope="people:write")
async def unblock_person(call: Call) -> None:
    """Unblock somebody."""
    await call.app[keys.CONTACTS].unblock(call.user_id, call.person())


def _after(query: ListQuery) -> str:
    if query.cursor is None:
        return ""
    after: str = parse_cursor(query.cursor, str)[0]
    return after
