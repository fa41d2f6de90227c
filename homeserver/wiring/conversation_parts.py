"""Conversations and their members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from client_api.conversations import keys
from homeserver.services.conversations.access import Access
from homeserver.services.conversations.conversation_views import ConversationViews
from homeserver.services.conversations.conversations import Conversations
from homeserver.services.conversations.direct import Direct
from homeserver.services.conversations.direct_list import DirectList
from homeserver.services.conversations.entering import Entering
from homeserver.services.conversations.folding import Folding
from homeserver.services.conversations.groups import Groups
from homeserver.services.conversations.inviting import Inviting
from homeserver.services.conversations.member_views import MemberViews
from homeserver.services.conversations.members import Members
from homeserver.services.conversations.newest_messages import NewestMessages
from homeserver.services.conversations.own_settings import Settings
from homeserver.services.conversations.room_cards import RoomCards
from homeserver.services.conversations.room_people import RoomPeople
from homeserver.wiring.basics import clock_ms

if TYPE_CHECKING:
    from homeserver.wiring import Wiring


class ConversationParts:
    """The list of conversations, groups, direct ones, their members."""

    def __init__(self, wiring: Wiring, direct_list: DirectList, folding: Folding) -> None:
        database, log, reading = wiring.database, wiring.log, wiring.reading
        config = wiring.config
        self.direct_list = direct_list
        self.direct = Direct(
            server_name=config.server_name,
            default_version=config.rooms.default_version,
            database=database,
            rooms=wiring.rooms,
            rooms_of_users=reading.rooms_of_users,
            membership=wiring.membership,
            creation=wiring.creation,
            profiles=wiring.profiles,
            direct_list=self.direct_list,
            agreements=wiring.consent,
        )
        self.settings = Settings(
            database=database,
            log=log,
            room_tags=wiring.room_tags,
            push_rules=wiring.push_rules,
            clock_ms=clock_ms,
            wake=wiring.ends.caretaker.wake,
        )
        wiring.ends.caretaker.add(self.settings)
        self.cards = RoomCards(
            database=database, log=log, store=wiring.store, live_rooms=wiring.live_rooms
        )
        self.people = RoomPeople(
            server_name=config.server_name, database=database, store=wiring.store
        )
        self.newest = NewestMessages(database=database, log=log)
        self.views: ConversationViews = ConversationViews(
            log=log,
            cards=self.cards,
            people=self.people,
            newest=self.newest,
            settings=self.settings,
            store=wiring.store,
            summaries=reading.summaries,
            unread=reading.unread_counts,
            visibility=reading.visibility,
            reader_filter=reading.hidden_events,
            folding=folding,
        )
        self.conversations = Conversations(
            database=database,
            rooms_of_users=reading.rooms_of_users,
            invites=wiring.consent_parts.requests,
            direct_list=self.direct_list,
            newest=self.newest,
            settings=self.settings,
            views=self.views,
        )

        self._changing(wiring)

    def _changing(self, wiring: Wiring) -> None:
        """Making, changing and entering them."""
        database, server_name = wiring.database, wiring.config.server_name
        self.access = access = Access(database=database, rooms=wiring.rooms)
        self.inviting = Inviting(
            server_name=server_name,
            database=database,
            rooms=wiring.rooms,
            membership=wiring.membership,
            clock_ms=clock_ms,
        )
        self.groups = Groups(
            access=access,
            rooms=wiring.rooms,
            creation=wiring.creation,
            profiles=wiring.profiles,
            direct=self.direct,
            inviting=self.inviting,
        )
        self.members = Members(
            server_name=server_name,
            access=access,
            views=MemberViews(database=database, people=self.people),
            inviting=self.inviting,
            membership=wiring.membership,
        )
        self.entering = Entering(
            database=database,
            rooms=wiring.rooms,
            directory=wiring.directory,
            lists=wiring.list_gates.gate,
            membership=wiring.membership,
            conversations=self.conversations,
            direct_list=self.direct_list,
            groups=self.groups,
            settings=self.settings,
        )

    async def start(self) -> None:
        """Go on inviting."""
        await self.inviting.start()

    async def close(self) -> None:
        """Stop inviting."""
        await self.inviting.close()

    def provide(self, app: web.Application) -> None:
        """Put each part under its key."""
        app[keys.DIRECT] = self.direct
        app[keys.CONVERSATIONS] = self.conversations
        app[keys.SETTINGS] = self.settings
        app[keys.GROUPS] = self.groups
        app[keys.MEMBERS] = self.members
        app[keys.ENTERING] = self.entering
        app[keys.ROOM_PEOPLE] = self.people
