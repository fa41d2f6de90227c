"""The members of conversations."""

from __future__ import annotations

from client_api.conversations.api import Api, Call
from client_api.conversations.keys import GROUPS, MEMBERS
from homeserver.app_keys import RATE_LIMITS
from homeserver.services.conversations.groups import parse_people
from homeserver.services.conversations.shapes.conversations import (
    EffectivePermissions,
    Invited,
    Member,
    MembersQuery,
    NewMembers,
    RoleChange,
    WithReason,
)
from homeserver.services.conversations.shapes.pages import Page

READ, WRITE = "conversations:read", "conversations:write"
PATH = "/conversations/{conversation_id}/members"
ONE = PATH + "/{person}"

api = Api("Members", "Who is in a conversation, and who may do what there.")


@api.get(PATH, scope=READ)
async def list_members(call: Call[None, MembersQuery]) -> Page[Member]:
    """List a conversation's members, in the order of their addresses.

    Those who are in, are invited or ask to be let in; `state` (several times, if you like) names
    others, such as `banned`. A search by `query` in a very large conversation may answer an empty
    page with a `next`: go on.
    """
    return await call.app[MEMBERS].page(call.user_id, call.path("conversation_id"), call.query)


@api.post(PATH, scope=WRITE)
async def add_members(call: Call[NewMembers]) -> Invited:
    """Invite people to a conversation, up to 1,500 at once.

    The first are invited when this answers; the rest are invited in the background and have the
    state `inviting` until then. What stands against somebody (they take no invitations, their
    instance does not answer, ...) is in `problems`, and in the list of members.
    """
    call.app[RATE_LIMITS].check("invite", call.user_id)
    people = parse_people(call.body.people, "people", without=call.user_id)
    return await call.app[MEMBERS].add(
        call.user_id, call.path("conversation_id"), people, call.body.reason
    )


@api.get(ONE, scope=READ)
async def get_member(call: Call) -> Member:
    """Get a member."""
    return await call.app[MEMBERS].get(call.user_id, call.path("conversation_id"), call.person())


@api.patch(ONE, scope=WRITE)
async def update_member(call: Call[RoleChange]) -> Member:
    """Make a member an admin, or an admin a member.

    It takes the permission `administer`, and that they stand below you. Ownership is handed over
    by `POST /conversations/{conversation_id}/owner`.
    """
    room_id = call.path("conversation_id")
    await call.app[GROUPS].set_role(call.user_id, room_id, call.person(), call.body.role)
    return await call.app[MEMBERS].get(call.user_id, room_id, call.person())


@api.delete(ONE, scope=WRITE)
async def remove_member(call: Call) -> None:
    """Remove a member, or take back an invitation.

    They may come back if they are invited, or if the conversation is open.
    """
    await call.app[MEMBERS].remove(call.user_id, call.path("conversation_id"), call.person(), None)


@api.get(ONE + "/permissions", scope=READ)
async def get_member_permissions(call: Call) -> EffectivePermissions:
    """Get what a member may do, all taken together."""
    return await call.app[MEMBERS].permissions(
        call.user_id, call.path("conversation_id"), call.person()
    )


@api.post(ONE + "/ban", scope=WRITE)
async def ban_member(call: Call[WithReason]) -> Member:
    """Remove somebody and keep them out until the ban is lifted."""
    return await call.app[MEMBERS].ban(
        call.user_id, call.path("conversation_id"), call.person(), call.body.reason
    )


@api.post(ONE + "/unban", scope=WRITE)
async def unban_member(call: Call[WithReason]) -> Member:
    """Lift a ban. It does not bring them back: invite them."""
    return await call.app[MEMBERS].unban(
        call.user_id, call.path("conversation_id"), call.person(), call.body.reason
    )


@api.post(ONE + "/approve", scope=WRITE)
async def approve_member(call: Call) -> Member:
    """Let in somebody who asks to be let in.

    Who is at home on this instance is in at once; others get an invitation that their client
    accepts.
    """
    return await call.app[MEMBERS].approve(
        call.user_id, call.path("conversation_id"), call.person()
    )


@api.post(ONE + "/refuse", scope=WRITE)
async def refuse_member(call: Call[WithReason]) -> Member:
    """Refuse somebody who asks to be let in."""
    return await call.app[MEMBERS].refuse(
        call.user_id, call.path("conversation_id"), call.person(), call.body.reason
    )
