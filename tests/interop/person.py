"""A person with a stock client: matrix-nio with end-to-end encryption, syncing all the time."""

import asyncio
import io
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import nio  # type: ignore[import-untyped]

from tests.harness import Homeserver, RawClient, raw_session

SYNC_FILTER = {"room": {"timeline": {"limit": 200}, "state": {"lazy_load_members": False}}}
SYNC_TIMEOUT_MS = 10_000
RETRY_SECONDS = 0.2
PATIENCE_SECONDS = 60.0

Event = Mapping[str, Any]
Answer = TypeVar("Answer")

_serial = itertools.count(1)


class Refused(Exception):
    """The server answered a request of the client with an error."""

    def __init__(self, response: nio.ErrorResponse) -> None:
        super().__init__(str(response))
        self.errcode = response.status_code


def _accepted(response: Any, kind: type[Answer]) -> Answer:
    if isinstance(response, nio.ErrorResponse):
        raise Refused(response)
    assert isinstance(response, kind), response
    return response


class Person:
    """One account on one server, and everything its client was told so far.

    `timelines` holds every timeline event in the order of arrival; nothing is ever taken out
    and nothing deduplicated, so that "exactly once" can be asserted.
    """

    def __init__(self, server: Homeserver, client: nio.AsyncClient) -> None:
        self.server = server
        self.client = client
        self.timelines: dict[str, list[Event]] = {}
        self.invites: dict[str, list[Event]] = {}
        self.typing: dict[str, list[str]] = {}
        self.receipts: dict[str, dict[str, str]] = {}
        self.sync_errors: list[str] = []
        self._undecrypted: list[nio.MegolmEvent] = []
        self._changed = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    @classmethod
    async def arrive(cls, name: str, server: Homeserver, store: Path) -> "Person":
        """Register an account, log in and start to listen."""
        localpart = f"{name}{next(_serial)}"
        async with raw_session() as session:
            account = RawClient(session, server.client_url)
            await account.register(localpart)
        config = nio.AsyncClientConfig(max_timeouts=0, encryption_enabled=True)
        client = nio.AsyncClient(
            server.client_url, account.user_id, account.device_id, str(store), config
        )
        client.restore_login(account.user_id, account.device_id, account.access_token)
        person = cls(server, client)
        person._listening = asyncio.create_task(person._listen())
        return person

    async def depart(self) -> None:
        """Stop listening."""
        if self._listening:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self.client.close()

    @property
    def user_id(self) -> str:
        """The Matrix user ID."""
        user_id: str = self.client.user_id
        return user_id

    def __repr__(self) -> str:
        return self.user_id

    # What they do

    async def create_room(self, room_version: str, *, encrypted: bool = False) -> str:
        """Make a private room, and wait until the own sync shows it: nio sends to no other."""
        state = [nio.EnableEncryptionBuilder().as_dict()] if encrypted else []
        response = await self.client.room_create(
            name="Verona", room_version=room_version, initial_state=state
        )
        room_id: str = _accepted(response, nio.RoomCreateResponse).room_id
        await self.wait(lambda: room_id in self.client.rooms, "the new room")
        return room_id

    async def invite(self, room_id: str, guest: "Person") -> None:
        """Invite, and wait until the guest has seen it."""
        guest.invites.pop(room_id, None)
        _accepted(await self.client.room_invite(room_id, guest.user_id), nio.RoomInviteResponse)
        await guest.wait(lambda: room_id in guest.invites, "the invite")

    async def join(self, room_id: str) -> None:
        """Join a room one is invited to, and wait until the own sync shows it."""
        _accepted(await self.client.join(room_id), nio.JoinResponse)
        await self.sees_membership(room_id, self, "join")

    async def send(self, room_id: str, content: Mapping[str, Any] | str) -> str:
        """Send a message (encrypted, where the room is) and return its event ID."""
        if isinstance(content, str):
            content = {"msgtype": "m.text", "body": content}
        return await self.send_event(room_id, "m.room.message", content)

    async def send_event(self, room_id: str, event_type: str, content: Mapping[str, Any]) -> str:
        """Send an event of any type and return its event ID."""
        response = await self.client.room_send(
            room_id, event_type, dict(content), ignore_unverified_devices=True
        )
        event_id: str = _accepted(response, nio.RoomSendResponse).event_id
        return event_id

    async def set_state(self, room_id: str, event_type: str, content: Mapping[str, Any]) -> str:
        """Set a state event with an empty state key and return its event ID."""
        response = await self.client.room_put_state(room_id, event_type, dict(content))
        event_id: str = _accepted(response, nio.RoomPutStateResponse).event_id
        return event_id

    async def redact(self, room_id: str, event_id: str) -> str:
        """Redact an event and return the redaction's event ID."""
        response = await self.client.room_redact(room_id, event_id, reason="a slip")
        redaction_id: str = _accepted(response, nio.RoomRedactResponse).event_id
        return redaction_id

    async def leave(self, room_id: str) -> None:
        """Leave."""
        _accepted(await self.client.room_leave(room_id), nio.RoomLeaveResponse)

    async def kick(self, room_id: str, whom: "Person") -> None:
        """Kick."""
        response = await self.client.room_kick(room_id, whom.user_id, reason="a brawl")
        _accepted(response, nio.RoomKickResponse)

    async def ban(self, room_id: str, whom: "Person") -> None:
        """Ban."""
        response = await self.client.room_ban(room_id, whom.user_id, reason="a duel")
        _accepted(response, nio.RoomBanResponse)

    async def unban(self, room_id: str, whom: "Person") -> None:
        """Unban."""
        _accepted(await self.client.room_unban(room_id, whom.user_id), nio.RoomUnbanResponse)

    async def start_typing(self, room_id: str, typing: bool = True) -> None:
        """Begin, or stop, typing."""
        _accepted(await self.client.room_typing(room_id, typing), nio.RoomTypingResponse)

    async def read(self, room_id: str, event_id: str) -> None:
        """Send a public read receipt, for the main timeline."""
        response = await self.client.update_receipt_marker(room_id, event_id)
        _accepted(response, nio.UpdateReceiptMarkerResponse)

    async def upload(self, data: bytes, content_type: str, filename: str) -> str:
        """Upload a file and return its mxc URI."""
        response, _ = await self.client.upload(
            io.BytesIO(data), content_type, filename, filesize=len(data)
        )
        uri: str = _accepted(response, nio.UploadResponse).content_uri
        return uri

    async def download(self, uri: str) -> nio.MemoryDownloadResponse:
        """Download a file through the own server."""
        return _accepted(await self.client.download(uri), nio.MemoryDownloadResponse)

    async def event(self, room_id: str, event_id: str) -> Event:
        """Fetch an event as the own server has it now, not decrypted."""
        return await self.ask("GET", "rooms", room_id, "event", event_id)

    async def ask(
        self,
        method: str,
        *path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        version: str = "v3",
    ) -> dict[str, Any]:
        """Ask the own server what nio has no method for."""
        async with raw_session() as session:
            raw = RawClient(session, self.server.client_url, self.user_id)
            raw.access_token = self.client.access_token
            return await raw.call(method, *path, body=body, query=query, version=version)

    async def earlier(self, room_id: str) -> list[Event]:
        """The last hundred events of the room by `/messages`, oldest first."""
        response = await self.client.room_messages(room_id, limit=100)
        chunk = _accepted(response, nio.RoomMessagesResponse).chunk
        return [event.source for event in reversed(chunk)]

    async def joined_members(self, room_id: str) -> set[str]:
        """Who is joined, as the own server sees it."""
        response = await self.client.joined_members(room_id)
        members = _accepted(response, nio.JoinedMembersResponse).members
        return {member.user_id for member in members}

    # What they see

    async def wait(
        self, check: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Wait until `check` holds."""
        try:
            async with asyncio.timeout(seconds):
                while not check():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            errors = f"; sync errors: {self.sync_errors[-3:]}" if self.sync_errors else ""
            raise AssertionError(f"{self} never saw {what}{errors}") from None

    async def sees(
        self,
        room_id: str,
        check: Callable[[Event], object],
        what: str,
        seconds: float = PATIENCE_SECONDS,
    ) -> Event:
        """Wait for a timeline event of a room."""

        def found() -> Event | None:
            return next((event for event in self.timelines.get(room_id, []) if check(event)), None)

        await self.wait(found, what, seconds)
        event = found()
        assert event is not None
        return event

    async def sees_event(self, room_id: str, event_id: str) -> Event:
        """Wait for an event by its ID."""
        return await self.sees(room_id, lambda e: e.get("event_id") == event_id, event_id)

    async def sees_text(self, room_id: str, text: str, seconds: float = PATIENCE_SECONDS) -> Event:
        """Wait for a text message."""
        return await self.sees(room_id, lambda e: _text(e) == text, f"{text!r}", seconds)

    async def sees_membership(self, room_id: str, whom: "Person", membership: str) -> None:
        """Wait until the newest membership event of someone is this one."""

        def current() -> bool:
            memberships = [
                event["content"].get("membership")
                for event in self.timelines.get(room_id, [])
                if event["type"] == "m.room.member" and event["state_key"] == whom.user_id
            ]
            return memberships[-1:] == [membership]

        await self.wait(current, f"{whom} with membership {membership}")

    async def sees_receipt(self, room_id: str, reader: "Person", event_id: str) -> None:
        """Wait until someone's read receipt is at an event."""
        await self.wait(
            lambda: self.receipts.get(room_id, {}).get(reader.user_id) == event_id,
            f"that {reader} has read {event_id}",
        )

    async def sees_typing(self, room_id: str, whom: "Person", typing: bool) -> None:
        """Wait until someone is, or is not, typing."""
        await self.wait(
            lambda: (whom.user_id in self.typing.get(room_id, [])) is typing,
            f"{whom} {'typing' if typing else 'not typing'}",
        )

    async def knows_devices_of(self, other: "Person") -> None:
        """Wait until the client has the other one's device keys."""
        await self.wait(
            lambda: any(self.client.device_store.active_user_devices(other.user_id)),
            f"the devices of {other}",
        )

    def texts(self, room_id: str, prefix: str = "") -> list[str]:
        """All text messages that start with `prefix`, in order of arrival."""
        texts = (_text(event) for event in self.timelines.get(room_id, []))
        return [text for text in texts if text is not None and text.startswith(prefix)]

    # How they listen

    async def _listen(self) -> None:
        while True:
            try:
                response = await self.client.sync(SYNC_TIMEOUT_MS, SYNC_FILTER)
                if isinstance(response, nio.SyncError):
                    raise Refused(response)
                self._take(response)
                await self._look_after_keys()
            except (aiohttp.ClientError, OSError, TimeoutError, Refused) as error:
                self.sync_errors.append(repr(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _look_after_keys(self) -> None:
        client = self.client
        await client.send_to_device_messages()
        if client.should_upload_keys:
            await client.keys_upload()
        if client.should_query_keys:
            await client.keys_query()
        if client.should_claim_keys:
            await client.keys_claim(client.get_users_for_key_claiming())
        self._changed.set()

    def _take(self, response: nio.SyncResponse) -> None:
        rooms = response.rooms
        for room_id, room in [*rooms.join.items(), *rooms.leave.items()]:
            for event in [*room.state, *room.timeline.events]:
                self._take_event(room_id, event)
        for room_id, joined in rooms.join.items():
            for event in joined.ephemeral:
                self._take_ephemeral(room_id, event)
        for room_id, invited in rooms.invite.items():
            self.invites[room_id] = [event.source for event in invited.invite_state]
        self._retry_decryption()
        self._changed.set()

    def _take_event(self, room_id: str, event: Any) -> None:
        if isinstance(event, nio.MegolmEvent):
            event.room_id = room_id
            self._undecrypted.append(event)
        else:
            self.timelines.setdefault(room_id, []).append(event.source)

    def _take_ephemeral(self, room_id: str, event: Any) -> None:
        if isinstance(event, nio.TypingNoticeEvent):
            self.typing[room_id] = event.users
        if isinstance(event, nio.ReceiptEvent):
            for receipt in event.receipts:
                self.receipts.setdefault(room_id, {})[receipt.user_id] = receipt.event_id

    def _retry_decryption(self) -> None:
        """A room key may arrive after the message it is for."""
        waiting, self._undecrypted = self._undecrypted, []
        for event in waiting:
            try:
                decrypted = self.client.decrypt_event(event)
            except nio.EncryptionError:
                self._undecrypted.append(event)
            else:
                self.timelines.setdefault(event.room_id, []).append(decrypted.source)


def _text(event: Event) -> str | None:
    if event["type"] != "m.room.message":
        return None
    text: str | None = event["content"].get("body")
    return text
