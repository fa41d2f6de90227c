"""The API's operations.

Made by ``python -m tools.generate_client``: do not edit.
"""

from __future__ import annotations

from typing import Any, Literal, cast
from urllib.parse import quote

from comity.client.shapes import (
    ApplicationInfo,
    Availability,
    Cancelled,
    ChangeScheduled,
    Contact,
    Conversation,
    CurrentSession,
    Deletion,
    DeliveryReport,
    Device,
    DeviceChange,
    Draft,
    Link,
    MadeToken,
    Me,
    Media,
    MyChanges,
    NewAccount,
    NewContact,
    NewDraft,
    NewLink,
    NewMessage,
    NewOwnSession,
    NewOwnUser,
    NewPassword,
    NewPresence,
    NewScheduled,
    NewSession,
    NewToken,
    OnlineCount,
    OwnSession,
    OwnUserInfo,
    PageOfBlocked,
    PageOfContact,
    PageOfConversation,
    PageOfDevice,
    PageOfDraft,
    PageOfOwnUserInfo,
    PageOfPerson,
    PageOfScheduled,
    PageOfTokenInfo,
    Presence,
    PresenceQuery,
    Presences,
    ProblemKind,
    Profile,
    Proof,
    Refresh,
    Retried,
    Scheduled,
    Sent,
    Server,
    Session,
    SettingsChange,
    SignedOut,
    SignOutOthers,
    Tokens,
    Ways,
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

    async def get_conversation(self, conversation_id: str) -> Conversation:
        """Get a conversation.

        Also one that you are invited to, ask to be let into, or have left: `state` says so.
        """
        return cast(
            "Conversation", await self.call("GET", _path("/conversations/{}", conversation_id))
        )

    async def change_settings(self, conversation_id: str, body: SettingsChange) -> Conversation:
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
        cannot make another. It is good until it expires or is revoked, or your account ends.
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
