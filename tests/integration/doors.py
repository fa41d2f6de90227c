"""What each kind of caller gets from each operation of the Client-Server API.

The expectations are the specification's: whether an operation requires an access token, whether
it is for guests (guest access, client behaviour), what the locked get (account locking) and the
suspended (account suspension), who may read what of a room.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

OK = "200"
INTERACTIVE = "401"
"""More is asked for (user-interactive authentication): such an answer has no errcode."""
MISSING, UNKNOWN = "401 M_MISSING_TOKEN", "401 M_UNKNOWN_TOKEN"
LOCKED, SUSPENDED = "401 M_USER_LOCKED", "403 M_USER_SUSPENDED"
GUEST = "403 M_GUEST_ACCESS_FORBIDDEN"
FORBIDDEN, NOT_FOUND = "403 M_FORBIDDEN", "404 M_NOT_FOUND"


@dataclass(frozen=True)
class Row:
    """An operation, a request of it that is right, and what its callers get: status and errcode.

    In the request ``$ME``, ``$ROOM``, ``$EVENT`` and so on stand for what there is in the world.
    """

    owner: str = OK
    """Who made the room, and may do anything in it."""
    stranger: str = OK
    """A user who was never in the room."""
    former: str = OK
    """A user who has left the room."""
    guest: str = GUEST
    """A guest who is in the room."""
    suspended: str = OK
    """A suspended user who is in the room, and might do much there otherwise."""
    nobody: str = MISSING
    """A caller without a token."""
    unknown: str = UNKNOWN
    """A caller with a token that is nobody's; also one whose user deactivated their account."""
    locked: str = LOCKED
    """A locked user who is in the room."""
    body: Any = None
    query: str = ""
    path: dict[str, str] = field(default_factory=dict)
    """Parameters of the path other than the usual ones."""

    def expected(self, kind: str) -> str:
        """What such a caller gets."""
        answer: str = getattr(self, "unknown" if kind == "deactivated" else kind)
        return answer


def ask(
    row: Row, body: Any = None, query: str = "", path: dict[str, str] | None = None, **kinds: str
) -> Row:
    """A row with a request, and what some callers get instead."""
    return replace(row, body=body, query=query, path=path or {}, **kinds)


def all_get(answer: str) -> Row:
    """No token is required; whoever bears one, of whatever worth, gets the same."""
    return Row(*([answer] * 8))


OPTIONAL = replace(Row(guest=OK), nobody=OK)
"""No token is required, but one that is borne has to be good."""
OWN = Row()
"""About the caller alone, of whom rooms know nothing."""
OWN_WRITING = replace(OWN, suspended=SUSPENDED)
INSIDE = Row(stranger=FORBIDDEN, former=FORBIDDEN)
"""For who is in the room."""
DOING = replace(INSIDE, suspended=SUSPENDED)
"""Something done to the room."""
READING = Row(stranger=FORBIDDEN, guest=OK)
"""What who left may read up to there."""
FINDING = replace(READING, stranger=NOT_FOUND)
"""The same, of an operation that does not tell what is not there from what may not be seen."""
NONE_SUCH = Row(owner=NOT_FOUND, stranger=NOT_FOUND, former=NOT_FOUND, suspended=NOT_FOUND)
ADMINS = Row(owner=FORBIDDEN, stranger=FORBIDDEN, former=FORBIDDEN, suspended=FORBIDDEN)
NO_USERS = ask(all_get(FORBIDDEN), nobody=MISSING)
"""For application services, by their own tokens."""
NOT_CONFIRMED = Row(*["401 M_THREEPID_AUTH_FAILED"] * 3, suspended="401 M_THREEPID_AUTH_FAILED")
NOT_TRUSTED = Row(*["403 M_SERVER_NOT_TRUSTED"] * 3, suspended="403 M_SERVER_NOT_TRUSTED")
NO_PREVIEWS = Row(*["404 M_UNRECOGNIZED"] * 3, suspended="404 M_UNRECOGNIZED")
PASSWORD_ASKED = replace(
    OWN, owner=INTERACTIVE, stranger=INTERACTIVE, former=INTERACTIVE, suspended=INTERACTIVE
)

TEXT = {"msgtype": "m.text", "body": "hello"}
SIGNED = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "k"}}
SESSION = {"first_message_index": 0, "forwarded_count": 0, "is_verified": True, "session_data": {}}
RULE = {"kind": "room", "ruleId": "$ROOM"}
MASTER_KEY = {"user_id": "$ME", "usage": ["master"], "keys": {"ed25519:" + "A" * 43: "A" * 43}}
CREDENTIALS = {"client_secret": "monkeys", "sid": "1"}
ADDRESS = {"medium": "email", "address": "$NAME@one.test"}
SERVER = {"id_server": "id.test", "id_access_token": "abc"}
MAIL = {"client_secret": "monkeys", "email": "a@one.test", "send_attempt": 1}
NUMBER = {"client_secret": "monkeys", "country": "GB", "phone_number": "1", "send_attempt": 1}
PUSHER = {
    "kind": "http",
    "app_id": "test",
    "pushkey": "$NAME",
    "app_display_name": "Test",
    "device_display_name": "Test",
    "lang": "en",
    "data": {"url": "https://push.test/_matrix/push/v1/notify"},
}
VICTIM = {"user_id": "@victim:one.test"}

ACCOUNTS = {
    "setAccountData": ask(OWN, {"a": 1}, path={"type": "x.test"}),
    "getAccountData": ask(OWN, path={"type": "m.push_rules"}),
    "setAccountDataPerRoom": ask(OWN, {"a": 1}, path={"type": "x.test"}),
    "getAccountDataPerRoom": ask(OWN, path={"type": "x.test"}),
    "deactivateAccount": ask(PASSWORD_ASKED, {}, nobody=INTERACTIVE),
    "changePassword": ask(PASSWORD_ASKED, {"new_password": "x" * 10}, nobody=INTERACTIVE),
    "getWhoIs": OWN,
    "getAdminSuspendUser": ADMINS,
    "setAdminSuspendUser": ask(ADMINS, {"suspended": False}),
    "getAdminLockUser": ADMINS,
    "setAdminLockUser": ask(ADMINS, {"locked": False}),
    "getTokenOwner": ask(OWN, guest=OK),
    "getCapabilities": ask(OWN, guest=OK),
    "getDevices": ask(OWN, guest=OK),
    "getDevice": ask(OWN, guest=OK),
    "updateDevice": ask(OWN, {"display_name": "Mine"}, guest=OK),
    "deleteDevice": PASSWORD_ASKED,
    "deleteDevices": ask(PASSWORD_ASKED, {"devices": ["$DEVICE"]}),
    "generateLoginToken": ask(PASSWORD_ASKED, {}),
    "requestOpenIdToken": ask(OWN, {}),
    "defineFilter": ask(OWN, {}, guest=OK),
    "getFilter": ask(OWN, guest=OK, path={"filterId": "$FILTER"}),
    "getPresence": OWN,
    "setPresence": ask(OWN, {"presence": "online"}),
    "getUserProfile": OPTIONAL,
    "setProfileField": ask(OWN_WRITING, {"displayname": "Me"}, guest=OK),
    "getProfileField": ask(OPTIONAL, path={"userId": "@owner:one.test"}),
    "deleteProfileField": ask(OWN_WRITING, guest=OK),
    "searchUserDirectory": ask(OWN, {"search_term": "owner"}),
    "getMutualRooms": ask(OWN, query="?user_id=@other:one.test"),
    "getTurnServer": OWN,
    "reportUser": ask(OWN, {"reason": "rude"}, path={"userId": "@other:one.test"}),
}
ENTERING = {
    "getLoginFlows": all_get(OK),
    "login": ask(all_get(FORBIDDEN), {"type": "m.login.password", "user": "x", "password": "x"}),
    "refresh": ask(all_get(UNKNOWN), {"refresh_token": "x"}),
    "register": ask(all_get(INTERACTIVE), {}),
    "checkUsernameAvailability": ask(all_get(OK), query="?username=free"),
    "registrationTokenValidity": ask(all_get(OK), query="?token=x"),
    "getAuthMetadata": all_get(OK),
    "redirectToSSO": ask(all_get("302"), query="?redirectUrl=https://client.test"),
    "redirectToIdP": ask(  # a page for people
        all_get("404"), query="?redirectUrl=https://client.test", path={"idpId": "none"}
    ),
    "getVersions": all_get(OK),
    "getWellknown": all_get(OK),
    "getWellknownSupport": all_get(NOT_FOUND),
    "getWellknownPolicy": all_get(NOT_FOUND),
    "requestTokenTo3PIDEmail": ask(all_get("403 M_THREEPID_DENIED"), MAIL),
    "requestTokenToResetPasswordEmail": ask(all_get("403 M_THREEPID_DENIED"), MAIL),
    "requestTokenToRegisterEmail": ask(all_get("403 M_THREEPID_DENIED"), MAIL),
    "requestTokenTo3PIDMSISDN": ask(all_get("400 M_THREEPID_MEDIUM_NOT_SUPPORTED"), NUMBER),
    "requestTokenToResetPasswordMSISDN": ask(all_get("403 M_THREEPID_DENIED"), NUMBER),
    "requestTokenToRegisterMSISDN": ask(all_get("403 M_THREEPID_DENIED"), NUMBER),
}
ADDRESSES = {
    "getAccount3PIDs": OWN,
    "post3PIDs": ask(NOT_CONFIRMED, {"three_pid_creds": {**CREDENTIALS, **SERVER}}),
    "add3PID": ask(NOT_CONFIRMED, CREDENTIALS),
    "bind3PID": ask(NOT_TRUSTED, {**CREDENTIALS, **SERVER}),
    "delete3pidFromAccount": ask(OWN_WRITING, ADDRESS),
    "unbind3pidFromAccount": ask(OWN, ADDRESS),
}
KEYS = {
    "uploadKeys": ask(OWN, {}, guest=OK),
    "queryKeys": ask(OWN, {"device_keys": {"$ME": []}}, guest=OK),
    "claimKeys": ask(OWN, {"one_time_keys": {}}, guest=OK),
    "getKeysChanges": ask(OWN, query="?from=$SINCE&to=$SINCE"),
    "uploadCrossSigningKeys": ask(OWN, {"master_key": MASTER_KEY}),
    "uploadCrossSigningSignatures": ask(OWN, {}),
    "sendToDevice": ask(OWN, {"messages": {}}, guest=OK, path={"eventType": "x.test"}),
    "postRoomKeysVersion": ask(OWN, SIGNED),
    "getRoomKeysVersionCurrent": OWN,
    "getRoomKeysVersion": OWN,
    "putRoomKeysVersion": ask(OWN, SIGNED),
    "putRoomKeys": ask(OWN, {"rooms": {}}, "?version=1"),
    "getRoomKeys": ask(OWN, query="?version=1"),
    "putRoomKeysByRoomId": ask(OWN, {"sessions": {}}, "?version=1"),
    "getRoomKeysByRoomId": ask(OWN, query="?version=1"),
    "putRoomKeyBySessionId": ask(OWN, SESSION, "?version=1"),
    "getRoomKeyBySessionId": ask(OWN, query="?version=1"),
    "deleteRoomKeyBySessionId": ask(OWN, query="?version=1"),
    "deleteRoomKeysByRoomId": ask(OWN, query="?version=1"),
    "deleteRoomKeys": ask(OWN, query="?version=1"),
    "deleteRoomKeysVersion": OWN,
}
PUSH = {
    "getPushers": OWN,
    "postPusher": ask(OWN, PUSHER),
    "getNotifications": OWN,
    "getPushRules": OWN,
    "getPushRulesGlobal": OWN,
    "setPushRule": ask(OWN, {"actions": []}, path=RULE),
    "getPushRule": ask(OWN, path=RULE),
    "isPushRuleEnabled": ask(OWN, path=RULE),
    "setPushRuleEnabled": ask(OWN, {"enabled": False}, path=RULE),
    "getPushRuleActions": ask(OWN, path=RULE),
    "setPushRuleActions": ask(OWN, {"actions": ["notify"]}, path=RULE),
    "deletePushRule": ask(OWN, path=RULE),
}
MEDIA_PATH = {"serverName": "one.test", "mediaId": "$MEDIA"}
NAMED_MEDIA = {**MEDIA_PATH, "fileName": "cake.png"}
SMALL = "?width=32&height=32"
MEDIA = {
    "createContent": OWN_WRITING,
    "uploadContent": ask(OWN_WRITING, {}),
    "uploadContentToMXC": ask(
        Row(FORBIDDEN, FORBIDDEN, FORBIDDEN, suspended=SUSPENDED),
        {},
        path={"serverName": "one.test", "mediaId": "$RESERVED"},
    ),
    "getContentAuthed": ask(OWN, guest=OK, path=MEDIA_PATH),
    "getContentOverrideNameAuthed": ask(OWN, guest=OK, path=NAMED_MEDIA),
    "getContentThumbnailAuthed": ask(OWN, query=SMALL, guest=OK, path=MEDIA_PATH),
    "getConfigAuthed": OWN,
    "getConfig": OWN,
    "getUrlPreviewAuthed": ask(NO_PREVIEWS, query="?url=https://x.test"),
    "getUrlPreview": ask(NO_PREVIEWS, query="?url=https://x.test"),
    # what is new is not to be had without a token
    "getContent": ask(all_get(NOT_FOUND), path=MEDIA_PATH),
    "getContentOverrideName": ask(all_get(NOT_FOUND), path=NAMED_MEDIA),
    "getContentThumbnail": ask(all_get(NOT_FOUND), query=SMALL, path=MEDIA_PATH),
}
ROOM_READING = {
    "getRoomEvents": ask(READING, query="?dir=b"),
    "getEventContext": READING,
    "getOneRoomEvent": FINDING,
    "getRoomState": READING,
    "getRoomStateWithKey": ask(READING, path={"eventType": "m.room.name", "stateKey": ""}),
    "getMembersByRoom": READING,
    "getJoinedMembersByRoom": INSIDE,
    "roomInitialSync": READING,
    "peekEvents": ask(READING, query="?room_id=$ROOM&timeout=0"),
    "getOneEvent": ask(FINDING, guest=GUEST),
    "getRelatingEvents": ask(FINDING, guest=GUEST),
    "getRelatingEventsWithRelType": ask(FINDING, guest=GUEST, path={"relType": "m.thread"}),
    "getRelatingEventsWithRelTypeAndEventType": ask(
        FINDING, guest=GUEST, path={"relType": "m.thread", "eventType": "m.room.message"}
    ),
    "getThreadRoots": ask(READING, guest=GUEST),
    "getEventByTimestamp": ask(READING, query="?ts=0&dir=f", guest=GUEST),
    "getSpaceHierarchy": INSIDE,
    "getRoomSummary": Row(stranger=NOT_FOUND, former=NOT_FOUND, nobody=NOT_FOUND, guest=OK),
    "getLocalAliases": INSIDE,
    "getEvents": ask(OWN, query="?timeout=0", guest=OK),
    "initialSync": OWN,
    "sync": ask(OWN, query="?timeout=0", guest=OK),
    "getJoinedRooms": OWN,
    "search": ask(OWN, {"search_categories": {"room_events": {"search_term": "xylophone"}}}),
    "getRoomIdByAlias": ask(all_get(OK), path={"roomAlias": "#hall:one.test"}),
    "getRoomVisibilityOnDirectory": all_get(OK),
    "getPublicRooms": OPTIONAL,
    "queryPublicRooms": ask(OWN, {}),
    "getProtocols": OWN,
    "getProtocolMetadata": NONE_SUCH,
    "queryLocationByProtocol": NONE_SUCH,
    "queryUserByProtocol": NONE_SUCH,
    "queryLocationByAlias": ask(NONE_SUCH, query="?alias=%23no:one.test"),
    "queryUserByID": ask(NONE_SUCH, query="?userid=@no:one.test"),
}
LEFT_ROOM, FORGOTTEN = {"roomId": "$LEAVE"}, {"roomId": "$FORGET"}
NEW_ALIAS = {"roomAlias": "#$NAME:one.test"}
ROOM_WRITING = {
    "createRoom": ask(OWN_WRITING, {}),
    "sendMessage": ask(DOING, TEXT, guest=OK, path={"eventType": "m.room.message"}),
    "setRoomStateWithKey": ask(
        DOING, {"a": "$NAME"}, guest=OK, path={"eventType": "x.test", "stateKey": ""}
    ),
    "redactEvent": ask(DOING, {}, path={"eventId": "$SPARE"}),
    "setTyping": ask(INSIDE, {"typing": True, "timeout": 1000}),
    "postReceipt": ask(INSIDE, {}, path={"receiptType": "m.read"}),
    "setReadMarker": ask(INSIDE, {"m.fully_read": "$EVENT"}),
    "setRoomTag": ask(OWN, {"order": 0.5}),
    "getRoomTags": OWN,
    "deleteRoomTag": OWN,
    "reportRoom": ask(OWN, {"reason": "spam"}),
    "reportEvent": ask(Row(stranger=NOT_FOUND, former=NOT_FOUND), {"reason": "spam"}),
    "inviteUser": ask(DOING, VICTIM),
    "inviteBy3PID": ask(
        replace(DOING, owner=FORBIDDEN),
        {**SERVER, "medium": "msisdn", "address": "1"},
    ),
    "ban": ask(DOING, VICTIM),
    "unban": ask(DOING, VICTIM),
    "kick": ask(DOING, {"user_id": "@other:one.test"}),
    "joinRoomById": ask(OWN_WRITING, {}, guest=OK, path={"roomId": "$OPEN"}),
    "joinRoom": ask(OWN_WRITING, {}, guest=OK, path={"roomIdOrAlias": "$OPEN2"}),
    "knockRoom": ask(OWN_WRITING, {}, owner=FORBIDDEN, path={"roomIdOrAlias": "$KNOCK"}),
    "leaveRoom": ask(OWN, {}, stranger=FORBIDDEN, guest=OK, path=LEFT_ROOM),
    "forgetRoom": ask(Row(*["400 M_UNKNOWN"] * 2, suspended="400 M_UNKNOWN"), {}, path=FORGOTTEN),
    "setRoomAlias": ask(DOING, {"room_id": "$ROOM"}, path=NEW_ALIAS),
    "deleteRoomAlias": ask(DOING, path={"roomAlias": "#spare:one.test"}),
    "setRoomVisibilityOnDirectory": ask(DOING, {"visibility": "private"}),
    "upgradeRoom": ask(DOING, {"new_version": "11"}, path={"roomId": "$UPGRADE"}),
}
SERVICES = {
    "pingAppservice": ask(NO_USERS, {}, path={"appserviceId": "none"}),
    "updateAppserviceRoomDirectoryVisibility": ask(
        NO_USERS, {"visibility": "public"}, path={"networkId": "irc"}
    ),
}
ENDING = {
    "logout": ask(OWN, guest=OK, locked=OK),
    "logout_all": ask(OWN, guest=OK, locked=OK),
}

ROWS: dict[str, Row] = {
    **ACCOUNTS,
    **ENTERING,
    **ADDRESSES,
    **KEYS,
    **PUSH,
    **MEDIA,
    **ROOM_READING,
    **ROOM_WRITING,
    **SERVICES,
    **ENDING,  # the last: then their sessions are over
}
"""By operationId, in the order in which they are tried."""
