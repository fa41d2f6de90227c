"""The rules for every event, in the order of the spec."""

from __future__ import annotations

from collections.abc import Container, Sequence

from homeserver.protocol.auth_rules.membership import check_membership
from homeserver.protocol.auth_rules.power import check_power_levels
from homeserver.protocol.auth_rules.selection import CREATE, POWER_LEVELS, auth_event_keys
from homeserver.protocol.auth_rules.verdict import ALLOWED, Rejected, Verdict
from homeserver.protocol.events import Event, StateMap
from homeserver.protocol.identifiers import InvalidIdentifier, UserId, server_name_of
from homeserver.protocol.power_levels import PowerLevels
from homeserver.protocol.room_versions import ROOM_VERSIONS


def check_auth_events(
    event: Event, auth_events: Sequence[Event], rejected: Container[str] = ()
) -> Verdict:
    """Consider the auth events that an event cites.

    ``rejected`` has the IDs of events that were themselves rejected.
    """
    if event.type == "m.room.create":
        return ALLOWED
    wanted = auth_event_keys(
        event.type, event.state_key, event.sender, event.content, event.room_version
    )
    seen = set()
    for auth_event in auth_events:
        if not auth_event.is_state:
            return Rejected("it cites an auth event that is no state event")
        # 3.1: duplicate entries for a type and state key
        if auth_event.key in seen:
            return Rejected(f"it cites two auth events for {auth_event.type}")
        seen.add(auth_event.key)
        # 3.2: entries that the selection does not name
        if auth_event.key not in wanted:
            return Rejected(f"it cites {auth_event.type}, which does not authorise it")
        # 3.3: entries that were themselves rejected
        if auth_event.event_id in rejected:
            return Rejected("it cites an auth event that was rejected")
        # 3.5: entries of another room
        if auth_event.room_id != event.room_id:
            return Rejected("it cites an auth event of another room")
    # v1 to v11, 2.4: the create event must be among them
    if not event.room_version.room_id_is_create_hash and CREATE not in seen:
        return Rejected("it does not cite the create event")
    return ALLOWED


def check_auth(event: Event, state: StateMap) -> Verdict:
    """Whether an event is authorised by a state.

    Only the state that :func:`auth_event_keys` names, and the create event, is looked at.
    """
    # 1
    if event.type == "m.room.create":
        return check_create(event)
    create = state.get(CREATE)
    # v12 rule 2: the room ID is the create event's; before, there must be one all the same
    if create is None or create.room_id != event.room_id:
        return Rejected("the room has no create event")
    # 4: m.federate
    if create.content.get("m.federate") is False and server_name_of(event.sender) != server_name_of(
        create.sender
    ):
        return Rejected("the room is closed to other servers")
    version = event.room_version
    # v1 to v5, 4: m.room.aliases
    if event.type == "m.room.aliases" and version.aliases_auth_rule:
        return _check_aliases(event)
    levels = PowerLevels.from_state(create, state.get(POWER_LEVELS), version)
    # 5
    if event.type == "m.room.member":
        return check_membership(event, state, create, levels)
    # 6
    member = state.get(("m.room.member", event.sender))
    if member is None or member.membership != "join":
        return Rejected(f"{event.sender} is not joined to the room")
    sender_level = levels.user(event.sender)
    # 7
    if event.type == "m.room.third_party_invite":
        if sender_level >= levels.invite:
            return ALLOWED
        return Rejected("the sender's power level is below the invite level")
    # 8
    if levels.required_for_event(event.type, event.is_state) > sender_level:
        return Rejected(f"the sender's power level does not allow {event.type}")
    # 9
    if (
        event.state_key is not None
        and event.state_key.startswith("@")
        and event.state_key != event.sender
    ):
        return Rejected("the state key is another user's")
    # 10
    if event.type == "m.room.power_levels":
        return check_power_levels(event, state.get(POWER_LEVELS), create, sender_level)
    # v1, v2, 11: m.room.redaction
    if event.type == "m.room.redaction" and version.redaction_auth_rule:
        return _check_redaction(event, sender_level, levels)
    return ALLOWED


def check_create(event: Event) -> Verdict:
    """Rule 1: ``m.room.create``."""
    version = event.room_version
    if event.prev_event_ids:
        return Rejected("a create event has no prev events")
    if version.room_id_is_create_hash:
        # v12, 1.2
        if "room_id" in event.pdu:
            return Rejected("a create event bears no room ID in this room version")
    elif server_name_of(event.room_id) != server_name_of(event.sender):
        return Rejected("the room ID is not of the sender's server")
    named = event.content.get("room_version", version.identifier)
    if not isinstance(named, str) or named not in ROOM_VERSIONS:
        return Rejected("the room version is not known")
    # v1 to v10, 1.4
    if not version.implicit_room_creator and "creator" not in event.content:
        return Rejected("the create event names no creator")
    # v12, 1.4
    if version.privileged_creators and not _are_user_ids(
        event.content.get("additional_creators", [])
    ):
        return Rejected("additional_creators must be an array of user IDs")
    return ALLOWED


def _are_user_ids(values: object) -> bool:
    if not isinstance(values, list):
        return False
    try:
        for value in values:
            UserId.parse(value)
    except InvalidIdentifier:
        return False
    return True


def _check_aliases(event: Event) -> Verdict:
    if event.state_key is None:
        return Rejected("an aliases event needs a state key")
    if event.state_key != server_name_of(event.sender):
        return Rejected("the aliases are of another server")
    return ALLOWED


def _check_redaction(event: Event, sender_level: float, levels: PowerLevels) -> Verdict:
    if sender_level >= levels.redact:
        return ALLOWED
    redacts = event.redacts
    if redacts is not None and server_name_of(redacts) == server_name_of(event.event_id):
        return ALLOWED
    return Rejected("the sender's power level is below the redact level")
