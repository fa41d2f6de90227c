"""Rule 5: ``m.room.member``."""

from __future__ import annotations

from homeserver.protocol.auth_rules.selection import JOIN_RULES
from homeserver.protocol.auth_rules.third_party import check_third_party_invite
from homeserver.protocol.auth_rules.verdict import ALLOWED, Rejected, Verdict
from homeserver.protocol.events import Event, StateMap
from homeserver.protocol.identifiers import InvalidIdentifier, UserId
from homeserver.protocol.power_levels import PowerLevels


def check_membership(event: Event, state: StateMap, create: Event, levels: PowerLevels) -> Verdict:
    """Whether a membership may change as the event says."""
    # 5.1
    if event.state_key is None or event.membership is None:
        return Rejected("a member event needs a state key and a membership")
    try:
        UserId.parse(event.state_key)
    except InvalidIdentifier:
        return Rejected("the state key is not a user ID")
    # 5.2 (signed by the authorising user's server) is checked with the signatures
    match event.membership:
        case "join":
            return _check_join(event, state, create, levels)
        case "invite":
            return _check_invite(event, state, levels)
        case "leave":
            return _check_leave(event, state, levels)
        case "ban":
            return _check_ban(event, state, levels)
        case "knock" if event.room_version.knock_join_rule:
            return _check_knock(event, state)
    return Rejected("the membership is not known")


def membership_in(state: StateMap, user_id: str | None) -> str | None:
    """A user's membership in a state."""
    member = state.get(("m.room.member", user_id or ""))
    return member.membership if member is not None else None


def join_rule_in(state: StateMap) -> str:
    """The join rule in a state; ``invite`` where there is none, nothing where it is no text."""
    event = state.get(JOIN_RULES)
    rule = event.content.get("join_rule", "invite") if event is not None else "invite"
    return rule if isinstance(rule, str) else ""


def _check_join(event: Event, state: StateMap, create: Event, levels: PowerLevels) -> Verdict:
    version = event.room_version
    # 5.3.1: the creator's first join
    creator = create.sender if version.implicit_room_creator else create.content.get("creator")
    if event.prev_event_ids == (create.event_id,) and event.state_key == creator:
        return ALLOWED
    # 5.3.2
    if event.sender != event.state_key:
        return Rejected("nobody can join for somebody else")
    current = membership_in(state, event.sender)
    # 5.3.3
    if current == "ban":
        return Rejected(f"{event.sender} is banned from the room")
    rule = join_rule_in(state)
    # 5.3.4; v7 added knock
    if rule == "invite" or (rule == "knock" and version.knock_join_rule):
        return _allow_if(current in ("invite", "join"), "the room is by invitation only")
    # 5.3.5; v8, v10
    if (rule == "restricted" and version.restricted_join_rule) or (
        rule == "knock_restricted" and version.knock_restricted_join_rule
    ):
        if current in ("invite", "join"):
            return ALLOWED
        return _check_restricted_join(event, state, levels)
    # 5.3.6, 5.3.7
    return _allow_if(rule == "public", "the room's join rule does not allow it")


def _check_restricted_join(event: Event, state: StateMap, levels: PowerLevels) -> Verdict:
    authorised = event.content.get("join_authorised_via_users_server")
    # 5.3.5.2
    if not isinstance(authorised, str):
        return Rejected("no member of the room vouches for the join")
    if membership_in(state, authorised) != "join":
        return Rejected("who vouches for the join is not in the room")
    return _allow_if(
        levels.user(authorised) >= levels.invite, "who vouches for the join may not invite"
    )


def _check_invite(event: Event, state: StateMap, levels: PowerLevels) -> Verdict:
    target = membership_in(state, event.state_key)
    # 5.4.1
    if "third_party_invite" in event.content:
        if target == "ban":
            return Rejected("the invited user is banned")
        return check_third_party_invite(event, state)
    # 5.4.2
    if membership_in(state, event.sender) != "join":
        return Rejected(f"{event.sender} is not joined to the room")
    # 5.4.3
    if target in ("join", "ban"):
        return Rejected("the invited user is joined or banned already")
    # 5.4.4, 5.4.5
    return _allow_if(
        levels.user(event.sender) >= levels.invite,
        "the sender's power level is below the invite level",
    )


def _check_leave(event: Event, state: StateMap, levels: PowerLevels) -> Verdict:
    # 5.5.1; v7 added knock
    if event.sender == event.state_key:
        current = membership_in(state, event.sender)
        knocks = event.room_version.knock_join_rule and current == "knock"
        return _allow_if(knocks or current in ("invite", "join"), "the sender is not in the room")
    # 5.5.2
    if membership_in(state, event.sender) != "join":
        return Rejected(f"{event.sender} is not joined to the room")
    sender_level = levels.user(event.sender)
    # 5.5.3
    if membership_in(state, event.state_key) == "ban" and sender_level < levels.ban:
        return Rejected("the sender's power level is below the ban level")
    # 5.5.4, 5.5.5
    return _allow_if(
        sender_level >= levels.kick and levels.user(event.state_key or "") < sender_level,
        "the sender's power level does not allow to remove this user",
    )


def _check_ban(event: Event, state: StateMap, levels: PowerLevels) -> Verdict:
    # 5.6.1
    if membership_in(state, event.sender) != "join":
        return Rejected(f"{event.sender} is not joined to the room")
    sender_level = levels.user(event.sender)
    # 5.6.2, 5.6.3
    return _allow_if(
        sender_level >= levels.ban and levels.user(event.state_key or "") < sender_level,
        "the sender's power level does not allow to ban this user",
    )


def _check_knock(event: Event, state: StateMap) -> Verdict:
    rule = join_rule_in(state)
    # 5.7.1; v10 added knock_restricted
    if rule != "knock" and not (
        rule == "knock_restricted" and event.room_version.knock_restricted_join_rule
    ):
        return Rejected("the room's join rule does not allow to knock")
    # 5.7.2
    if event.sender != event.state_key:
        return Rejected("nobody can knock for somebody else")
    # 5.7.3, 5.7.4
    return _allow_if(
        membership_in(state, event.sender) not in ("ban", "invite", "join"),
        "who is banned, invited or joined cannot knock",
    )


def _allow_if(condition: bool, otherwise: str) -> Verdict:
    return ALLOWED if condition else Rejected(otherwise)
