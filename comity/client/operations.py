"""The API's operations.

Made by ``python -m tools.generate_client``: do not edit.
"""

from __future__ import annotations

from typing import Any, Literal, cast
from urllib.parse import quote

from comity.client.shapes import (
    Acceptance,
    Acknowledgement,
    Addressed,
    Answered,
    AnswersChange,
    ApplicationInfo,
    Availability,
    BundleRequest,
    Bundles,
    Call,
    Cancelled,
    ChangeScheduled,
    ConsentShown,
    Contact,
    Conversation,
    ConversationChange,
    CurrentSession,
    Deletion,
    DeliveryInfo,
    DeliveryReport,
    Device,
    DeviceChange,
    Draft,
    EditMessage,
    EffectivePermissions,
    EndCall,
    Forward,
    ForwardResult,
    Grant,
    GrantChange,
    Invited,
    JoinRequest,
    KeysUpload,
    Link,
    MadeIncoming,
    MadeToken,
    MadeWebhook,
    MarkRead,
    Me,
    Media,
    Member,
    Message,
    MessagePage,
    MyChanges,
    NewAccount,
    NewAnswer,
    NewCall,
    NewCallAnswer,
    NewCandidates,
    NewContact,
    NewConversation,
    NewDeviceMessages,
    NewDraft,
    NewIncoming,
    NewLink,
    NewMembers,
    NewMessage,
    NewOwner,
    NewOwnSession,
    NewOwnUser,
    NewPassword,
    NewPresence,
    NewScheduled,
    NewSession,
    NewToken,
    NewVote,
    NewWebhookBody,
    OnlineCount,
    OwnKeys,
    OwnSession,
    OwnUserInfo,
    PageOfBlocked,
    PageOfCall,
    PageOfChange,
    PageOfContact,
    PageOfConversation,
    PageOfDeliveryInfo,
    PageOfDevice,
    PageOfDeviceMessageShown,
    PageOfDraft,
    PageOfEdit,
    PageOfFoundMessage,
    PageOfGrant,
    PageOfGuest,
    PageOfIncomingInfo,
    PageOfMember,
    PageOfOwnUserInfo,
    PageOfPerson,
    PageOfReactor,
    PageOfRequest,
    PageOfScheduled,
    PageOfTokenInfo,
    PageOfVoter,
    PageOfWebhookInfo,
    PeerAnswer,
    Presence,
    PresenceQuery,
    Presences,
    PresetChange,
    ProblemKind,
    Profile,
    Proof,
    ReadState,
    Refresh,
    Refusal,
    ReplayBody,
    Replayed,
    Request,
    RequestAnswer,
    Retried,
    RoleChange,
    Scheduled,
    Sent,
    Server,
    Session,
    SettingsChange,
    SignedOut,
    SignOutOthers,
    Tokens,
    TurnServers,
    TypingChange,
    Upload,
    Ways,
    WebhookChangesBody,
    WebhookInfo,
    WithReason,
)


def _path(template: str, *parts: str) -> str:
    return template.format(*(quote(part, safe="") for part in parts))


class Operations:
    """A method for each operation.  Each raises :class:`~comity.client.errors.Problem`."""

    call: Any

    async def get_server(self) -> Server:
        """Tell which instance this is."""
        return cast("Server", await self.call("GET", "/server"))

    async def get_problem(self, code: str) -> ProblemKind:
        """Explain a kind of problem: the address is the ``type`` of problem details."""
        return cast("ProblemKind", await self.call("GET", _path("/problems/{}", code)))

    async def get_ways(self) -> Ways:
        """Tell the ways to sign in.

        Providers are those of OpenID Connect: send the browser to `url`, with a
        `redirect_url` of the application's.
        """
        return cast("Ways", await self.call("GET", "/sessions/ways"))

    async def create_session(self, body: NewSession) -> Session:
        """Sign in.

        With `user` and `password`; with `jwt`, a token of an issuer that the instance's
        admin has set (an account is made at first sight, where that is allowed); or with
        `login_token`, which a login at a provider ended with. The answer's `access_token`
        goes into the header `Authorization: Bearer ...` of all other calls.
        """
        return cast("Session", await self.call("POST", "/sessions", body=body))

    async def refresh_session(self, body: Refresh) -> Tokens:
        """Change a refresh token for new tokens."""
        return cast("Tokens", await self.call("POST", "/sessions/refresh", body=body))

    async def get_current_session(self) -> CurrentSession:
        """Tell whose access token it is."""
        return cast("CurrentSession", await self.call("GET", "/sessions/current"))

    async def delete_current_session(self) -> None:
        """Sign out: the device is gone, with its keys and what waited for it."""
        await self.call("DELETE", "/sessions/current")

    async def check_user_name(self, *, user_name: str | None = None) -> Availability:
        """Tell whether a user name could be registered."""
        return cast(
            "Availability",
            await self.call("GET", "/accounts/available", query={"user_name": user_name}),
        )

    async def create_account(self, body: NewAccount) -> Session:
        """Make an account, and sign in to it.

        Where registration is open to all, or with a `code`: an invitation of a member's, or
        a registration token of the admin's. If there are terms (see the ways to sign in),
        `accept_terms` names each with its present version.
        """
        return cast("Session", await self.call("POST", "/accounts", body=body))

    async def change_password(self, body: NewPassword, *, key: str | None = None) -> None:
        """Change the password, and sign the other devices out unless `sign_out_others` is
        false.

        Takes a proof that it is really the user, unless they have signed in within ten
        minutes.
        """
        await self.call("POST", "/me/password", body=body, key=key)

    async def delete_account(self, body: Deletion, *, key: str | None = None) -> None:
        """End the account for ever; nobody gets its address again.

        Takes a proof that it is really the user, unless they have signed in within ten
        minutes.
        """
        await self.call("POST", "/me/delete", body=body, key=key)

    async def list_devices(self) -> PageOfDevice:
        """List the devices on which the user is signed in."""
        return cast("PageOfDevice", await self.call("GET", "/devices"))

    async def get_device(self, device_id: str) -> Device:
        """Show one device."""
        return cast("Device", await self.call("GET", _path("/devices/{}", device_id)))

    async def rename_device(self, device_id: str, body: DeviceChange) -> Device:
        """Give a device another name."""
        return cast("Device", await self.call("PATCH", _path("/devices/{}", device_id), body=body))

    async def sign_out_device(self, device_id: str, body: Proof) -> None:
        """Sign a device out.

        For another device than the caller's this takes a proof in the body that it is really
        the user, unless they have signed in within ten minutes.
        """
        await self.call("DELETE", _path("/devices/{}", device_id), body=body)

    async def sign_out_others(self, body: SignOutOthers, *, key: str | None = None) -> SignedOut:
        """Sign out all other devices, or those that are named.

        Takes a proof that it is really the user, unless they have signed in within ten
        minutes.
        """
        return cast("SignedOut", await self.call("POST", "/devices/sign-out", body=body, key=key))

    async def search_people(
        self, *, query: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> PageOfPerson:
        """Find people by the beginnings of words of their name or address.

        Of this instance, and those of others who share a conversation with the caller; not
        those who take no messages from the caller. Whole words come first.
        """
        return cast(
            "PageOfPerson",
            await self.call(
                "GET", "/people", query={"query": query, "limit": limit, "cursor": cursor}
            ),
        )

    async def get_person(self, person: str) -> Profile:
        """Show somebody's profile, of this instance or another."""
        return cast("Profile", await self.call("GET", _path("/people/{}", person)))

    async def get_me(self) -> Me:
        """Show the caller's own profile."""
        return cast("Me", await self.call("GET", "/me"))

    async def change_me(self, body: MyChanges) -> Me:
        """Change the caller's name, avatar (a media ID), status text or time zone.

        What is not named stays as it is; null takes it away. With `If-Match` only if nothing
        has changed since it was read.
        """
        return cast("Me", await self.call("PATCH", "/me", body=body))

    async def list_contacts(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> PageOfContact:
        """List the caller's contacts: who may always write to them."""
        return cast(
            "PageOfContact",
            await self.call("GET", "/contacts", query={"limit": limit, "cursor": cursor}),
        )

    async def get_contact(self, person: str) -> Contact:
        """Show one contact."""
        return cast("Contact", await self.call("GET", _path("/contacts/{}", person)))

    async def put_contact(self, person: str, body: NewContact) -> Contact:
        """Add a contact, or change the note on one.

        Whoever waits for the caller's answer is let in by it; who was blocked is so no
        longer.
        """
        return cast("Contact", await self.call("PUT", _path("/contacts/{}", person), body=body))

    async def delete_contact(self, person: str) -> None:
        """Remove a contact: what the caller answers to people like them counts again."""
        await self.call("DELETE", _path("/contacts/{}", person))

    async def list_blocked(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> PageOfBlocked:
        """List whom the caller has blocked."""
        return cast(
            "PageOfBlocked",
            await self.call("GET", "/blocked", query={"limit": limit, "cursor": cursor}),
        )

    async def block_person(self, person: str) -> None:
        """Block somebody: they cannot write to the caller, who sees nothing more of them."""
        await self.call("PUT", _path("/blocked/{}", person))

    async def unblock_person(self, person: str) -> None:
        """Unblock somebody."""
        await self.call("DELETE", _path("/blocked/{}", person))

    async def set_presence(self, body: NewPresence) -> Presence:
        """Say how the caller is, and why.

        It holds as long as a WebSocket, an event stream or a sync of the caller's is open,
        and half a minute after the last sign of life; `busy` is not undone by activity.
        """
        return cast("Presence", await self.call("PUT", "/me/presence", body=body))

    async def get_presence(self, person: str) -> Presence:
        """Tell how somebody is."""
        return cast("Presence", await self.call("GET", _path("/people/{}/presence", person)))

    async def query_presence(self, body: PresenceQuery, *, key: str | None = None) -> Presences:
        """Tell how up to 500 people are.

        Who shares no conversation with the caller, or does not want to be seen, is
        `offline`.
        """
        return cast("Presences", await self.call("POST", "/presence/query", body=body, key=key))

    async def count_online(self) -> OnlineCount:
        """Count the people of this instance who are here; not those who do not show it to all."""
        return cast("OnlineCount", await self.call("GET", "/presence/online-count"))

    async def get_consent(self) -> ConsentShown:
        """Show what the caller answers to people to whom they have said nothing themselves.

        By matter (`message`: who may start a conversation; `group`: who may add them;
        `media`: whose files they see; `call`; `presence`, `typing`, `receipts`: who sees
        theirs), and by who asks.
        """
        return cast("ConsentShown", await self.call("GET", "/consent"))

    async def set_consent_preset(self, body: PresetChange) -> ConsentShown:
        """Choose a preset for messages, groups, media and calls in one step."""
        return cast("ConsentShown", await self.call("PUT", "/consent", body=body))

    async def set_consent_answers(self, scope: str, body: AnswersChange) -> ConsentShown:
        """Set the answers in one matter: a preset, or an answer for some kinds of people."""
        return cast(
            "ConsentShown", await self.call("PUT", _path("/consent/scopes/{}", scope), body=body)
        )

    async def list_grants(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        scope: Literal[
            "call", "federation", "group", "media", "message", "presence", "receipts", "typing"
        ]
        | None = None,
        peer: str | None = None,
    ) -> PageOfGrant:
        """List what the caller said to single people, to instances, and to all (`*`)."""
        return cast(
            "PageOfGrant",
            await self.call(
                "GET",
                "/consent/grants",
                query={"limit": limit, "cursor": cursor, "scope": scope, "peer": peer},
            ),
        )

    async def set_grant(self, scope: str, peer: str, body: GrantChange) -> Grant:
        """Grant or deny something to a person (an address), an instance (its name), or all
        (`*`).

        `revoked` ends what was granted: the peer is refused from then on. In the matter
        `federation` a peer is an instance or `*`: whether anything of the caller's may go
        there.
        """
        return cast(
            "Grant", await self.call("PUT", _path("/consent/grants/{}/{}", scope, peer), body=body)
        )

    async def delete_grant(self, scope: str, peer: str) -> None:
        """Forget what was said to a peer: what the caller answers to people like them counts
        again.
        """
        await self.call("DELETE", _path("/consent/grants/{}/{}", scope, peer))

    async def list_consent_history(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> PageOfChange:
        """List every change there ever was, the newest first: who made it, when, and how."""
        return cast(
            "PageOfChange",
            await self.call("GET", "/consent/history", query={"limit": limit, "cursor": cursor}),
        )

    async def get_consent_of_person(
        self, person: str, *, scope: Literal["call", "group", "media", "message"] | None = None
    ) -> PeerAnswer:
        """Tell whether somebody lets the caller write to them, as far as their instance says.

        Who would be asked, who has blocked the caller, and who does not exist all look
        alike.
        """
        return cast(
            "PeerAnswer",
            await self.call("GET", _path("/people/{}/consent", person), query={"scope": scope}),
        )

    async def list_requests(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        state: Literal["accepted", "blocked", "declined", "expired", "pending"] | None = None,
    ) -> PageOfRequest:
        """List who asked to be let in, in one state: those who wait, if none is named."""
        return cast(
            "PageOfRequest",
            await self.call(
                "GET", "/requests", query={"limit": limit, "cursor": cursor, "state": state}
            ),
        )

    async def get_request(self, person: str) -> Request:
        """Show what somebody asked for."""
        return cast("Request", await self.call("GET", _path("/requests/{}", person)))

    async def accept_request(
        self, person: str, body: Acceptance, *, key: str | None = None
    ) -> Request:
        """Let somebody in: they become a contact, and the caller joins the conversation."""
        return cast(
            "Request",
            await self.call("POST", _path("/requests/{}/accept", person), body=body, key=key),
        )

    async def decline_request(
        self, person: str, body: Refusal, *, key: str | None = None
    ) -> Request:
        """Decline: they are told nothing, and may ask again only after some time."""
        return cast(
            "Request",
            await self.call("POST", _path("/requests/{}/decline", person), body=body, key=key),
        )

    async def block_request(self, person: str, body: Refusal, *, key: str | None = None) -> Request:
        """Decline, and block them."""
        return cast(
            "Request",
            await self.call("POST", _path("/requests/{}/block", person), body=body, key=key),
        )

    async def report_request(
        self, person: str, body: Refusal, *, key: str | None = None
    ) -> Request:
        """Decline, block them, and report them to the moderators of both instances."""
        return cast(
            "Request",
            await self.call("POST", _path("/requests/{}/report", person), body=body, key=key),
        )

    async def answer_requests(self, body: RequestAnswer, *, key: str | None = None) -> Answered:
        """Answer several at once: the people named, all of an instance, or all who wait."""
        return cast("Answered", await self.call("POST", "/requests/answer", body=body, key=key))

    async def get_own_keys(self) -> OwnKeys:
        """Show what the caller's device has published, and how many one-time pre-keys are left."""
        return cast("OwnKeys", await self.call("GET", "/keys"))

    async def upload_keys(self, body: KeysUpload) -> OwnKeys:
        """Publish keys of the caller's device: its identity key, its signed pre-key, one-time
        pre-keys.

        What is not named stays. A new signed pre-key takes the place of the old one; one-
        time pre-keys are added to those that are left, each under an `id` that was never
        used.
        """
        return cast("OwnKeys", await self.call("PUT", "/keys", body=body))

    async def claim_bundles(self, body: BundleRequest, *, key: str | None = None) -> Bundles:
        """Get what it takes to begin encrypted sessions with people's devices, here and
        elsewhere.

        Each device gives out one of its one-time pre-keys, which is used up; where none is
        left there is the signed pre-key alone. With `pre_keys` false only identity keys are
        read.
        """
        return cast("Bundles", await self.call("POST", "/keys/bundles", body=body, key=key))

    async def send_device_messages(
        self, body: NewDeviceMessages, *, key: str | None = None
    ) -> Addressed:
        """Send messages to devices, such as keys of encrypted conversations. They are passed on
        untouched.

        Each waits until its device acknowledges it, and is an update of its feed.
        """
        return cast("Addressed", await self.call("POST", "/device-messages", body=body, key=key))

    async def list_device_messages(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> PageOfDeviceMessageShown:
        """List the messages that wait for the caller's device, the oldest first."""
        return cast(
            "PageOfDeviceMessageShown",
            await self.call("GET", "/device-messages", query={"limit": limit, "cursor": cursor}),
        )

    async def acknowledge_device_messages(
        self, body: Acknowledgement, *, key: str | None = None
    ) -> None:
        """Say up to where the caller's device has its messages: they are deleted."""
        await self.call("POST", "/device-messages/acknowledge", body=body, key=key)

    async def list_conversations(
        self,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        kind: Literal["direct", "group", "self"] | None = None,
        state: list[Literal["active", "asked", "invited", "left", "requested"]] | None = None,
        archived: bool | None = None,
        pinned: bool | None = None,
        unread: bool | None = None,
        query: str | None = None,
    ) -> PageOfConversation:
        """List your conversations.

        Those in which something was said last come first. Requests of strangers
        (`state=requested`) and conversations that you have left (`state=left`) are listed
        only if you ask for them; `state` may be given several times.
        """
        return cast(
            "PageOfConversation",
            await self.call(
                "GET",
                "/conversations",
                query={
                    "limit": limit,
                    "cursor": cursor,
                    "kind": kind,
                    "state": state,
                    "archived": archived,
                    "pinned": pinned,
                    "unread": unread,
                    "query": query,
                },
            ),
        )

    async def create_conversation(
        self, body: NewConversation, *, key: str | None = None
    ) -> Conversation:
        """Make a group, or get the direct conversation with somebody, or your notes.

        A `group` is always made anew; its `members` are invited. The first invitations are
        out when this answers; the others go out in the background: the list of members says
        of each what became of it (`inviting`, `not_invited` with the reason). A `direct`
        conversation with a `peer`, and your notes (`self`), are found if you have them
        already, and made if not.
        """
        return cast("Conversation", await self.call("POST", "/conversations", body=body, key=key))

    async def get_conversation(self, conversation_id: str) -> Conversation:
        """Get a conversation.

        Also one that you are invited to, ask to be let into, or have left: `state` says so.
        """
        return cast(
            "Conversation", await self.call("GET", _path("/conversations/{}", conversation_id))
        )

    async def update_conversation(
        self, conversation_id: str, body: ConversationChange
    ) -> Conversation:
        """Change a conversation's name, description, picture, or who may do what.

        Send what is to change; null takes a name, description or picture away. Name,
        description and picture take the permission `change_settings`, all else `administer`.
        With `If-Match` it is changed only if it still is what you got.
        """
        return cast(
            "Conversation",
            await self.call("PATCH", _path("/conversations/{}", conversation_id), body=body),
        )

    async def delete_conversation(self, conversation_id: str) -> None:
        """Leave a conversation and delete it from your list.

        For the others it stays. A group's last owner hands it over first.
        """
        await self.call("DELETE", _path("/conversations/{}", conversation_id))

    async def update_conversation_settings(
        self, conversation_id: str, body: SettingsChange
    ) -> Conversation:
        """Mute, pin or archive a conversation.

        These are your own settings: nobody else sees them. `muted` is `true`, `false`, or
        the time until which; then it ends by itself.
        """
        return cast(
            "Conversation",
            await self.call(
                "PATCH", _path("/conversations/{}/settings", conversation_id), body=body
            ),
        )

    async def leave_conversation(
        self, conversation_id: str, body: WithReason, *, key: str | None = None
    ) -> None:
        """Leave a conversation, or take back that you asked to be let in.

        It stays in your list under `state=left`, as it was. A group's last owner hands it
        over first.
        """
        await self.call(
            "POST", _path("/conversations/{}/leave", conversation_id), body=body, key=key
        )

    async def accept_invitation(
        self, conversation_id: str, *, key: str | None = None
    ) -> Conversation:
        """Accept an invitation, or a stranger's request: you are in.

        Whoever invited you may write to you from then on.
        """
        return cast(
            "Conversation",
            await self.call("POST", _path("/conversations/{}/accept", conversation_id), key=key),
        )

    async def decline_invitation(
        self, conversation_id: str, body: WithReason, *, key: str | None = None
    ) -> None:
        """Decline an invitation, or a stranger's request."""
        await self.call(
            "POST", _path("/conversations/{}/decline", conversation_id), body=body, key=key
        )

    async def join_conversation(
        self, conversation_id: str, body: JoinRequest, *, key: str | None = None
    ) -> Conversation:
        """Join an open conversation, by its ID or its alias (`#boats:example.org`).

        `via` names instances that may know it, where yours does not.
        """
        return cast(
            "Conversation",
            await self.call(
                "POST", _path("/conversations/{}/join", conversation_id), body=body, key=key
            ),
        )

    async def ask_to_join_conversation(
        self, conversation_id: str, body: JoinRequest, *, key: str | None = None
    ) -> Conversation:
        """Ask to be let into a conversation, by its ID or its alias.

        It is in your list with `state` `asked` until somebody lets you in or refuses.
        `message` is for those who decide.
        """
        return cast(
            "Conversation",
            await self.call(
                "POST", _path("/conversations/{}/ask", conversation_id), body=body, key=key
            ),
        )

    async def hand_over_conversation(
        self, conversation_id: str, body: NewOwner, *, key: str | None = None
    ) -> Conversation:
        """Hand the conversation over to another member.

        You are an admin from then on. Groups made with another program may have an owner for
        ever: then the answer is the problem `ownership_fixed`.
        """
        return cast(
            "Conversation",
            await self.call(
                "POST", _path("/conversations/{}/owner", conversation_id), body=body, key=key
            ),
        )

    async def list_members(
        self,
        conversation_id: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        state: list[
            Literal[
                "banned",
                "invited",
                "inviting",
                "joined",
                "left",
                "not_invited",
                "removed",
                "requested",
            ]
        ]
        | None = None,
        role: Literal["admin", "member", "owner"] | None = None,
        query: str | None = None,
    ) -> PageOfMember:
        """List a conversation's members, in the order of their addresses.

        Those who are in, are invited or ask to be let in; `state` (several times, if you
        like) names others, such as `banned`. A search by `query` in a very large
        conversation may answer an empty page with a `next`: go on.
        """
        return cast(
            "PageOfMember",
            await self.call(
                "GET",
                _path("/conversations/{}/members", conversation_id),
                query={
                    "limit": limit,
                    "cursor": cursor,
                    "state": state,
                    "role": role,
                    "query": query,
                },
            ),
        )

    async def add_members(
        self, conversation_id: str, body: NewMembers, *, key: str | None = None
    ) -> Invited:
        """Invite people to a conversation, up to 1,500 at once.

        The first are invited when this answers; the rest are invited in the background and
        have the state `inviting` until then. What stands against somebody (they take no
        invitations, their instance does not answer, ...) is in `problems`, and in the list
        of members.
        """
        return cast(
            "Invited",
            await self.call(
                "POST", _path("/conversations/{}/members", conversation_id), body=body, key=key
            ),
        )

    async def get_member(self, conversation_id: str, person: str) -> Member:
        """Get a member."""
        return cast(
            "Member",
            await self.call("GET", _path("/conversations/{}/members/{}", conversation_id, person)),
        )

    async def update_member(self, conversation_id: str, person: str, body: RoleChange) -> Member:
        """Make a member an admin, or an admin a member.

        It takes the permission `administer`, and that they stand below you. Ownership is
        handed over by `POST /conversations/{conversation_id}/owner`.
        """
        return cast(
            "Member",
            await self.call(
                "PATCH", _path("/conversations/{}/members/{}", conversation_id, person), body=body
            ),
        )

    async def remove_member(self, conversation_id: str, person: str) -> None:
        """Remove a member, or take back an invitation.

        They may come back if they are invited, or if the conversation is open.
        """
        await self.call("DELETE", _path("/conversations/{}/members/{}", conversation_id, person))

    async def get_member_permissions(
        self, conversation_id: str, person: str
    ) -> EffectivePermissions:
        """Get what a member may do, all taken together."""
        return cast(
            "EffectivePermissions",
            await self.call(
                "GET", _path("/conversations/{}/members/{}/permissions", conversation_id, person)
            ),
        )

    async def ban_member(
        self, conversation_id: str, person: str, body: WithReason, *, key: str | None = None
    ) -> Member:
        """Remove somebody and keep them out until the ban is lifted."""
        return cast(
            "Member",
            await self.call(
                "POST",
                _path("/conversations/{}/members/{}/ban", conversation_id, person),
                body=body,
                key=key,
            ),
        )

    async def unban_member(
        self, conversation_id: str, person: str, body: WithReason, *, key: str | None = None
    ) -> Member:
        """Lift a ban. It does not bring them back: invite them."""
        return cast(
            "Member",
            await self.call(
                "POST",
                _path("/conversations/{}/members/{}/unban", conversation_id, person),
                body=body,
                key=key,
            ),
        )

    async def approve_member(
        self, conversation_id: str, person: str, *, key: str | None = None
    ) -> Member:
        """Let in somebody who asks to be let in.

        Who is at home on this instance is in at once; others get an invitation that their
        client accepts.
        """
        return cast(
            "Member",
            await self.call(
                "POST",
                _path("/conversations/{}/members/{}/approve", conversation_id, person),
                key=key,
            ),
        )

    async def refuse_member(
        self, conversation_id: str, person: str, body: WithReason, *, key: str | None = None
    ) -> Member:
        """Refuse somebody who asks to be let in."""
        return cast(
            "Member",
            await self.call(
                "POST",
                _path("/conversations/{}/members/{}/refuse", conversation_id, person),
                body=body,
                key=key,
            ),
        )

    async def send_message(self, body: NewMessage, *, key: str | None = None) -> Sent:
        """Send a message to a person or to a conversation.

        With `to`, the direct conversation with that person is found, or made. `outcome` says
        what happened: `sent`; `requested`, where the recipient is asked first whether they
        want to hear from you; `held`, where a moderator looks at it first. Whoever refuses
        messages from you, or has to be asked for consent elsewhere first, is told as a
        problem: `recipient_refuses`, `consent_required`, `policy_refused`.
        """
        return cast("Sent", await self.call("POST", "/messages", body=body, key=key))

    async def send_message_to_conversation(
        self, conversation_id: str, body: NewMessage, *, key: str | None = None
    ) -> Sent:
        """Send a message to a conversation that you are in."""
        return cast(
            "Sent",
            await self.call(
                "POST", _path("/conversations/{}/messages", conversation_id), body=body, key=key
            ),
        )

    async def list_messages(
        self,
        conversation_id: str,
        *,
        cursor: str | None = None,
        around: str | None = None,
        thread: str | None = None,
        system: bool | None = None,
        limit: int | None = None,
    ) -> MessagePage:
        """List a conversation's messages, the newest first.

        `next` leads to older messages, `previous` to newer ones: it is there even if there
        are none yet. `around` a message, the list begins in the middle; with `thread`, it
        has only the replies on that message.
        """
        return cast(
            "MessagePage",
            await self.call(
                "GET",
                _path("/conversations/{}/messages", conversation_id),
                query={
                    "cursor": cursor,
                    "around": around,
                    "thread": thread,
                    "system": system,
                    "limit": limit,
                },
            ),
        )

    async def forward_message(
        self, conversation_id: str, message_id: str, body: Forward, *, key: str | None = None
    ) -> ForwardResult:
        """Forward a message to people and conversations.

        Each of them is told of on its own: the message that was sent, or why it was not.
        What is encrypted, or to be viewed once, is not forwarded.
        """
        return cast(
            "ForwardResult",
            await self.call(
                "POST",
                _path("/conversations/{}/messages/{}/forward", conversation_id, message_id),
                body=body,
                key=key,
            ),
        )

    async def get_message(self, conversation_id: str, message_id: str) -> Message:
        """Read one message."""
        return cast(
            "Message",
            await self.call(
                "GET", _path("/conversations/{}/messages/{}", conversation_id, message_id)
            ),
        )

    async def edit_message(
        self, conversation_id: str, message_id: str, body: EditMessage
    ) -> Message:
        """Edit a message of your own.

        What the body does not name stays as it is.
        """
        return cast(
            "Message",
            await self.call(
                "PATCH",
                _path("/conversations/{}/messages/{}", conversation_id, message_id),
                body=body,
            ),
        )

    async def delete_message(
        self,
        conversation_id: str,
        message_id: str,
        *,
        for_: Literal["all", "me"] | None = None,
        reason: str | None = None,
    ) -> None:
        """Delete a message, for all or for yourself.

        Others' messages can be deleted for all by those with the permission
        `delete_messages`. What is deleted stays in the list as `deleted`, without its
        content; what you delete for yourself is gone from all your devices.
        """
        await self.call(
            "DELETE",
            _path("/conversations/{}/messages/{}", conversation_id, message_id),
            query={"for": for_, "reason": reason},
        )

    async def list_edits(
        self,
        conversation_id: str,
        message_id: str,
        *,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> PageOfEdit:
        """List the versions of a message, the first one first."""
        return cast(
            "PageOfEdit",
            await self.call(
                "GET",
                _path("/conversations/{}/messages/{}/edits", conversation_id, message_id),
                query={"cursor": cursor, "limit": limit},
            ),
        )

    async def add_reaction(self, conversation_id: str, message_id: str, key: str) -> None:
        """React to a message; `key` is an emoji, or another short text."""
        await self.call(
            "PUT",
            _path("/conversations/{}/messages/{}/reactions/{}", conversation_id, message_id, key),
        )

    async def remove_reaction(self, conversation_id: str, message_id: str, key: str) -> None:
        """Take a reaction back."""
        await self.call(
            "DELETE",
            _path("/conversations/{}/messages/{}/reactions/{}", conversation_id, message_id, key),
        )

    async def list_reactions(
        self,
        conversation_id: str,
        message_id: str,
        *,
        key: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> PageOfReactor:
        """List who reacted to a message, the first one first."""
        return cast(
            "PageOfReactor",
            await self.call(
                "GET",
                _path("/conversations/{}/messages/{}/reactions", conversation_id, message_id),
                query={"key": key, "cursor": cursor, "limit": limit},
            ),
        )

    async def vote(self, conversation_id: str, message_id: str, body: NewVote) -> Message:
        """Vote in a poll, in place of any vote before. Without choices, the vote is taken back."""
        return cast(
            "Message",
            await self.call(
                "PUT",
                _path("/conversations/{}/messages/{}/vote", conversation_id, message_id),
                body=body,
            ),
        )

    async def list_votes(
        self,
        conversation_id: str,
        message_id: str,
        *,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> PageOfVoter:
        """List who voted for what; of a poll with hidden results once it is closed."""
        return cast(
            "PageOfVoter",
            await self.call(
                "GET",
                _path("/conversations/{}/messages/{}/votes", conversation_id, message_id),
                query={"cursor": cursor, "limit": limit},
            ),
        )

    async def close_poll(
        self, conversation_id: str, message_id: str, *, key: str | None = None
    ) -> Message:
        """Close a poll of your own."""
        return cast(
            "Message",
            await self.call(
                "POST",
                _path("/conversations/{}/messages/{}/close", conversation_id, message_id),
                key=key,
            ),
        )

    async def answer_event(self, conversation_id: str, message_id: str, body: NewAnswer) -> Message:
        """Answer the invitation to an event: `yes`, `no` or `maybe`, in place of any answer
        before.
        """
        return cast(
            "Message",
            await self.call(
                "PUT",
                _path("/conversations/{}/messages/{}/answer", conversation_id, message_id),
                body=body,
            ),
        )

    async def list_answers(
        self,
        conversation_id: str,
        message_id: str,
        *,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> PageOfGuest:
        """List who gave which answer to the invitation to an event."""
        return cast(
            "PageOfGuest",
            await self.call(
                "GET",
                _path("/conversations/{}/messages/{}/answers", conversation_id, message_id),
                query={"cursor": cursor, "limit": limit},
            ),
        )

    async def mark_read(
        self, conversation_id: str, body: MarkRead, *, key: str | None = None
    ) -> ReadState:
        """Mark a conversation as read, up to a message or as a whole."""
        return cast(
            "ReadState",
            await self.call(
                "POST", _path("/conversations/{}/read", conversation_id), body=body, key=key
            ),
        )

    async def mark_unread(self, conversation_id: str, *, key: str | None = None) -> None:
        """Mark a conversation as unread, to come back to it."""
        await self.call("POST", _path("/conversations/{}/unread", conversation_id), key=key)

    async def set_typing(self, conversation_id: str, body: TypingChange) -> None:
        """Say that the caller types, or has stopped. Good for 10 seconds."""
        await self.call("PUT", _path("/conversations/{}/typing", conversation_id), body=body)

    async def search_messages(
        self,
        *,
        query: str | None = None,
        person: str | None = None,
        conversation_id: str | None = None,
        kind: Literal[
            "audio",
            "call",
            "contact",
            "encrypted",
            "event",
            "file",
            "image",
            "location",
            "poll",
            "sticker",
            "system",
            "text",
            "unknown",
            "video",
            "voice",
        ]
        | None = None,
        since: str | None = None,
        until: str | None = None,
        order: Literal["newest", "rank"] | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> PageOfFoundMessage:
        """Search the messages of your conversations, the newest first.

        One of `query`, `person` and `kind` must be there. Case and accents do not matter.
        Whatever you may not read is not found, nor what is deleted, encrypted, or to be
        viewed once. With `order=rank`, what fits best comes first. A message is found some
        moments after it was sent.
        """
        return cast(
            "PageOfFoundMessage",
            await self.call(
                "GET",
                "/search/messages",
                query={
                    "query": query,
                    "person": person,
                    "conversation_id": conversation_id,
                    "kind": kind,
                    "since": since,
                    "until": until,
                    "order": order,
                    "cursor": cursor,
                    "limit": limit,
                },
            ),
        )

    async def start_call(self, body: NewCall, *, key: str | None = None) -> Call:
        """Call somebody.

        `offer` is what WebRTC's `createOffer` gives. The devices of who is called are told
        by `call.ringing`; what they do comes as `call.answered` (with their session
        description), `call.declined` and `call.ended`. Unanswered after `ring_seconds`, the
        call is missed.
        """
        return cast("Call", await self.call("POST", "/calls", body=body, key=key))

    async def list_calls(
        self,
        *,
        conversation_id: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> PageOfCall:
        """List calls, the newest first, with how long they took."""
        return cast(
            "PageOfCall",
            await self.call(
                "GET",
                "/calls",
                query={"conversation_id": conversation_id, "cursor": cursor, "limit": limit},
            ),
        )

    async def get_turn_servers(self) -> TurnServers:
        """Get credentials for the servers that relay calls, where devices do not reach each
        other.
        """
        return cast("TurnServers", await self.call("GET", "/calls/turn"))

    async def get_call(self, call_id: str) -> Call:
        """Read a call; until it is over, with what both sides can do."""
        return cast("Call", await self.call("GET", _path("/calls/{}", call_id)))

    async def answer_call(
        self, call_id: str, body: NewCallAnswer, *, key: str | None = None
    ) -> Call:
        """Answer a call. `answer` is what WebRTC's `createAnswer` gives.

        Of several devices that answer, the first one has the call; the others get the
        problem `call_answered`.
        """
        return cast(
            "Call", await self.call("POST", _path("/calls/{}/answer", call_id), body=body, key=key)
        )

    async def decline_call(self, call_id: str, *, key: str | None = None) -> Call:
        """Decline a call, on all your devices."""
        return cast("Call", await self.call("POST", _path("/calls/{}/decline", call_id), key=key))

    async def end_call(self, call_id: str, body: EndCall, *, key: str | None = None) -> Call:
        """End a call that you are in, or stop ringing. Ending what is over changes nothing."""
        return cast(
            "Call", await self.call("POST", _path("/calls/{}/end", call_id), body=body, key=key)
        )

    async def add_candidates(
        self, call_id: str, body: NewCandidates, *, key: str | None = None
    ) -> None:
        """Tell the other side more ways to reach your device, as WebRTC finds them.

        Send several at once. An empty `candidate` says that there are no more.
        """
        await self.call("POST", _path("/calls/{}/candidates", call_id), body=body, key=key)

    async def upload_media(self, *, name: str | None = None, key: str | None = None) -> Media:
        """Upload a file.

        The body is the file, `Content-Type` its type, `name` what it is called. Large files
        go better through `/uploads`: what has arrived is kept when the connection breaks.
        """
        return cast("Media", await self.call("POST", "/media", query={"name": name}, key=key))

    async def get_media(self, media_id: str) -> Media:
        """Read what is known of a file.

        A file of another instance is fetched from there first.
        """
        return cast("Media", await self.call("GET", _path("/media/{}", media_id)))

    async def delete_media(self, media_id: str) -> None:
        """Delete a file of the caller's.

        Not if a message refers to it, or it is an avatar or the like: `media_in_use`.
        """
        await self.call("DELETE", _path("/media/{}", media_id))

    async def link_media(self, media_id: str, body: NewLink, *, key: str | None = None) -> Link:
        """Make an address that needs no token, for a short time.

        For `<img>` and `<video>` in a browser. Who has it may read the file as the caller
        may, until it expires or the caller's device signs out.
        """
        return cast(
            "Link", await self.call("POST", _path("/media/{}/link", media_id), body=body, key=key)
        )

    async def create_upload(self, *, key: str | None = None) -> Upload:
        """Begin an upload, perhaps with its first bytes.

        `Upload-Length` says how large it is, `Upload-Metadata` its `filename` and
        `filetype`. The answer's `Location` is where the bytes go.
        """
        return cast("Upload", await self.call("POST", "/uploads", key=key))

    async def get_upload(self, upload_id: str) -> Upload:
        """Read how far an upload has come, and which file it has become.

        HEAD is how tus clients ask: it answers in headers, and ends other requests that
        send.
        """
        return cast("Upload", await self.call("GET", _path("/uploads/{}", upload_id)))

    async def get_message_status(
        self,
        conversation_id: str,
        message_id: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> DeliveryReport:
        """Tell how far a message of yours has come, to each recipient.

        The statuses, each further than the one before: `pending`: something stands in its
        way, which `reason` names; `sent`: it is safe on this instance, and on its way;
        `delivered_to_instance`; `delivered_to_device`; `read`. `status` is the least of all
        recipients'.
        """
        return cast(
            "DeliveryReport",
            await self.call(
                "GET",
                _path("/conversations/{}/messages/{}/status", conversation_id, message_id),
                query={"limit": limit, "cursor": cursor},
            ),
        )

    async def cancel_message(
        self, conversation_id: str, message_id: str, *, key: str | None = None
    ) -> Cancelled:
        """Take back a message of yours that is not everywhere yet.

        Its content is deleted at once: instances that do not have it never get it. Those
        that have it are asked to delete it, and are named in `reached`. Where every instance
        has it, this is the problem `already_delivered`: delete it instead.
        """
        return cast(
            "Cancelled",
            await self.call(
                "POST",
                _path("/conversations/{}/messages/{}/cancel", conversation_id, message_id),
                key=key,
            ),
        )

    async def retry_message(
        self, conversation_id: str, message_id: str, *, key: str | None = None
    ) -> Retried:
        """Try again now to deliver a message of yours.

        It is tried by itself as well, at growing intervals, for as long as it takes.
        """
        return cast(
            "Retried",
            await self.call(
                "POST",
                _path("/conversations/{}/messages/{}/retry", conversation_id, message_id),
                key=key,
            ),
        )

    async def schedule_message(self, body: NewScheduled, *, key: str | None = None) -> Scheduled:
        """Have a message sent at a certain time.

        It is sent once, also if this server is down at that time. Whether it may be sent, by
        consent, policy and your permissions, is asked then.
        """
        return cast("Scheduled", await self.call("POST", "/scheduled", body=body, key=key))

    async def list_scheduled(
        self,
        *,
        conversation_id: str | None = None,
        state: Literal["cancelled", "failed", "scheduled", "sending", "sent"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> PageOfScheduled:
        """List your scheduled messages, by when they are sent: those that wait, or those in a
        state.
        """
        return cast(
            "PageOfScheduled",
            await self.call(
                "GET",
                "/scheduled",
                query={
                    "conversation_id": conversation_id,
                    "state": state,
                    "limit": limit,
                    "cursor": cursor,
                },
            ),
        )

    async def get_scheduled(self, scheduled_id: str) -> Scheduled:
        """Show a scheduled message, and what became of it: for a week after it was sent, or
        failed.
        """
        return cast("Scheduled", await self.call("GET", _path("/scheduled/{}", scheduled_id)))

    async def change_scheduled(self, scheduled_id: str, body: ChangeScheduled) -> Scheduled:
        """Change the message, or the time. Honours `If-Match`."""
        return cast(
            "Scheduled", await self.call("PATCH", _path("/scheduled/{}", scheduled_id), body=body)
        )

    async def cancel_scheduled(self, scheduled_id: str) -> Scheduled:
        """Never send it."""
        return cast("Scheduled", await self.call("DELETE", _path("/scheduled/{}", scheduled_id)))

    async def send_scheduled_now(self, scheduled_id: str, *, key: str | None = None) -> Scheduled:
        """Send it now. If that is refused, the problem says why, and it goes on waiting."""
        return cast(
            "Scheduled", await self.call("POST", _path("/scheduled/{}/send", scheduled_id), key=key)
        )

    async def list_drafts(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> PageOfDraft:
        """List your drafts, the last changed first."""
        return cast(
            "PageOfDraft",
            await self.call("GET", "/drafts", query={"limit": limit, "cursor": cursor}),
        )

    async def get_draft(self, conversation_id: str) -> Draft:
        """Show your draft in a conversation."""
        return cast(
            "Draft", await self.call("GET", _path("/conversations/{}/draft", conversation_id))
        )

    async def put_draft(self, conversation_id: str, body: NewDraft) -> Draft:
        """Keep a draft in the place of what there was. Sending a message does not delete it."""
        return cast(
            "Draft",
            await self.call("PUT", _path("/conversations/{}/draft", conversation_id), body=body),
        )

    async def delete_draft(self, conversation_id: str) -> None:
        """Forget your draft in a conversation."""
        await self.call("DELETE", _path("/conversations/{}/draft", conversation_id))

    async def create_token(self, body: NewToken, *, key: str | None = None) -> MadeToken:
        """Make a personal API token: a program that bears it acts for you, within its scopes.

        The token is shown this once. To make one takes a session of your own: an API token
        cannot make another, nor can a session that a client got by OAuth 2.0 (403
        `forbidden`), for the token would outlive it. It is good until it expires or is
        revoked, or your account ends.
        """
        return cast("MadeToken", await self.call("POST", "/tokens", body=body, key=key))

    async def list_tokens(self) -> PageOfTokenInfo:
        """List your API tokens, the oldest first: what each is for, and when it was last used."""
        return cast("PageOfTokenInfo", await self.call("GET", "/tokens"))

    async def revoke_token(self, token_id: str) -> None:
        """Revoke an API token of yours, at once."""
        await self.call("DELETE", _path("/tokens/{}", token_id))

    async def get_application(self) -> ApplicationInfo:
        """Tell which application the token is of."""
        return cast("ApplicationInfo", await self.call("GET", "/application"))

    async def list_own_users(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> PageOfOwnUserInfo:
        """List the application's users, in the order of their addresses."""
        return cast(
            "PageOfOwnUserInfo",
            await self.call("GET", "/application/users", query={"limit": limit, "cursor": cursor}),
        )

    async def create_own_user(self, body: NewOwnUser, *, key: str | None = None) -> OwnUserInfo:
        """Make an account for one of the application's users.

        It has no password: the application logs it in, or acts for it with the header
        `Comity-User`.
        """
        return cast(
            "OwnUserInfo", await self.call("POST", "/application/users", body=body, key=key)
        )

    async def log_own_user_in(
        self, person: str, body: NewOwnSession, *, key: str | None = None
    ) -> OwnSession:
        """Log one of the application's users in: an access token for the user's own device.

        With it the device speaks to this instance itself, by REST, WebSocket or a Matrix
        client. The account is made on first sight, if the application may.
        """
        return cast(
            "OwnSession",
            await self.call(
                "POST", _path("/application/users/{}/sessions", person), body=body, key=key
            ),
        )

    async def end_own_user(self, person: str, *, erase: bool | None = None) -> None:
        """End the account of one of the application's users, for good.

        They leave all conversations, their devices are signed out; the address stays taken.
        """
        await self.call("DELETE", _path("/application/users/{}", person), query={"erase": erase})

    async def create_webhook(self, body: NewWebhookBody, *, key: str | None = None) -> MadeWebhook:
        """Register a webhook: from now on, its address is told what happens.

        An application is told what its users are told, a user what they are told. `events`
        names types such as `message.created`, families such as `message.*`, or `*`. Each
        request is signed by the Standard Webhooks scheme with the secret, which is shown
        this once.
        """
        return cast("MadeWebhook", await self.call("POST", "/webhooks", body=body, key=key))

    async def list_webhooks(self) -> PageOfWebhookInfo:
        """List the webhooks, the oldest first, and how each does."""
        return cast("PageOfWebhookInfo", await self.call("GET", "/webhooks"))

    async def get_webhook(self, webhook_id: str) -> WebhookInfo:
        """Read a webhook."""
        return cast("WebhookInfo", await self.call("GET", _path("/webhooks/{}", webhook_id)))

    async def change_webhook(self, webhook_id: str, body: WebhookChangesBody) -> WebhookInfo:
        """Change a webhook, pause it, or make it active again.

        One that is made active goes on where it stopped: what happened meanwhile is told
        then.
        """
        return cast(
            "WebhookInfo", await self.call("PATCH", _path("/webhooks/{}", webhook_id), body=body)
        )

    async def delete_webhook(self, webhook_id: str) -> None:
        """Delete a webhook, what it was still to be told, and its log."""
        await self.call("DELETE", _path("/webhooks/{}", webhook_id))

    async def rotate_webhook_secret(
        self, webhook_id: str, *, key: str | None = None
    ) -> MadeWebhook:
        """Sign with a new secret; for 24 hours each request is signed with the old one as well."""
        return cast(
            "MadeWebhook",
            await self.call("POST", _path("/webhooks/{}/rotate-secret", webhook_id), key=key),
        )

    async def test_webhook(self, webhook_id: str, *, key: str | None = None) -> DeliveryInfo:
        """Send an update of the type `webhook.test` at once, and tell what came of it."""
        return cast(
            "DeliveryInfo", await self.call("POST", _path("/webhooks/{}/test", webhook_id), key=key)
        )

    async def list_deliveries(
        self,
        webhook_id: str,
        *,
        state: Literal["delivered", "failed", "gone", "pending"] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> PageOfDeliveryInfo:
        """List what was sent, or is to be, the newest first: with status and latency."""
        return cast(
            "PageOfDeliveryInfo",
            await self.call(
                "GET",
                _path("/webhooks/{}/deliveries", webhook_id),
                query={"state": state, "limit": limit, "cursor": cursor},
            ),
        )

    async def replay_deliveries(
        self, webhook_id: str, body: ReplayBody, *, key: str | None = None
    ) -> Replayed:
        """Send again all that failed since a time, or with `delivered` everything: the same
        IDs.
        """
        return cast(
            "Replayed",
            await self.call("POST", _path("/webhooks/{}/replay", webhook_id), body=body, key=key),
        )

    async def replay_delivery(
        self, webhook_id: str, delivery_id: str, *, key: str | None = None
    ) -> None:
        """Send one delivery again, under the same ID."""
        await self.call(
            "POST", _path("/webhooks/{}/deliveries/{}/replay", webhook_id, delivery_id), key=key
        )

    async def create_incoming_webhook(
        self, conversation_id: str, body: NewIncoming, *, key: str | None = None
    ) -> MadeIncoming:
        """Make an address at which a program posts messages to the conversation, as you.

        Whoever knows the address may write: keep it secret. It is shown this once. Its
        messages bear the label. An application's are posted as its bot, or as the user for
        whom it acts.
        """
        return cast(
            "MadeIncoming",
            await self.call(
                "POST",
                _path("/conversations/{}/incoming-webhooks", conversation_id),
                body=body,
                key=key,
            ),
        )

    async def list_incoming_webhooks(self, conversation_id: str) -> PageOfIncomingInfo:
        """List the conversation's incoming webhooks: your own, or all if you administer it."""
        return cast(
            "PageOfIncomingInfo",
            await self.call("GET", _path("/conversations/{}/incoming-webhooks", conversation_id)),
        )

    async def revoke_incoming_webhook(self, conversation_id: str, incoming_id: str) -> None:
        """Revoke an incoming webhook, at once: your own, or any if you administer the
        conversation.
        """
        await self.call(
            "DELETE", _path("/conversations/{}/incoming-webhooks/{}", conversation_id, incoming_id)
        )

    async def post_to_incoming_webhook(self, secret: str, body: NewMessage) -> Sent:
        """Post a message, at an address that somebody made for that: no token is needed.

        `{"text": "hello"}` is enough; everything that a message may have is accepted, but
        where it goes is settled. The same `Idempotency-Key` again posts nothing.
        """
        return cast("Sent", await self.call("POST", _path("/hooks/{}", secret), body=body))
