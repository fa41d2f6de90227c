"""Profiles, search, contacts, blocking and presence, over real HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conversations.conftest import ApiUser, new_user
from tests.integration.single import Instance


def addresses(answer: dict[str, Any]) -> list[str]:
    return [item.get("person", item)["address"] for item in answer["items"]]


# ---------------------------------------------------------------- profiles


async def test_a_profile_is_changed_here_and_seen_by_matrix(alice: ApiUser, bob: ApiUser) -> None:
    changes = {"name": "Alice A.", "avatar": "one.test~abc", "status_text": "at work"}

    me = await alice.call("PATCH", "/me", changes)
    seen = await bob.get("/people/alice@one.test")
    by_id = await bob.get("/people/@alice:one.test")
    matrix = await bob.matrix("GET", "/profile/@alice:one.test")

    assert me["person"]["name"] == "Alice A."
    assert me["status_text"] == "at work"
    assert seen == by_id
    assert seen["person"] == me["person"]
    assert seen["person"]["avatar"] == "one.test~abc"
    assert matrix == {"displayname": "Alice A.", "avatar_url": "mxc://one.test/abc"}


async def test_what_is_not_named_stays_and_null_takes_away(alice: ApiUser) -> None:
    await alice.call("PATCH", "/me", {"name": "A", "status_text": "x", "time_zone": "Europe/Rome"})

    kept = await alice.call("PATCH", "/me", {"status_text": "y"})
    gone = await alice.call("PATCH", "/me", {"name": None, "status_text": None, "time_zone": None})

    assert (kept["person"]["name"], kept["status_text"]) == ("A", "y")
    assert kept["time_zone"] == "Europe/Rome"
    assert (gone["person"]["name"], gone["status_text"], gone["time_zone"]) == (None, None, None)


async def test_a_change_of_what_has_changed_is_refused(alice: ApiUser) -> None:
    _, headers = await alice.call_with_headers("GET", "/me")
    known = {"If-Match": headers["ETag"]}

    await alice.call("PATCH", "/me", {"name": "first"}, headers=known)
    problem = await alice.call("PATCH", "/me", {"name": "2nd"}, headers=known, status=412)

    assert problem["code"] == "precondition_failed"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "x" * 300}, 422),
        ({"avatar": "nothing"}, 400),
        ({"displayname": "x"}, 422),
        ({"name": 7}, 422),
        ({"status_text": "x" * 1001}, 422),
        ({"status_text": "a\0b"}, 400),
        ({"name": "a\0b"}, 400),
    ],
)
async def test_bad_changes_are_refused(alice: ApiUser, body: Any, status: int) -> None:
    await alice.call("PATCH", "/me", body, status=status)


async def test_who_takes_no_messages_is_not_there_for_strangers(
    alice: ApiUser, bob: ApiUser
) -> None:
    await alice.matrix("PUT", "/_comity/client/v1/consent", {"preset": "closed"})

    unknown = await bob.get("/people/ghost@one.test", status=404)
    hidden = await bob.get("/people/alice@one.test", status=404)
    found = await bob.get("/people?query=alice")

    assert hidden == unknown
    assert found["items"] == []


# ---------------------------------------------------------------- search


async def test_people_are_found_by_the_beginnings_of_their_names(instance: Instance) -> None:
    alice = await new_user(instance, "alice")
    for name, shown in (("u1", "Zoë Müller"), ("u2", "Zoran Petrov"), ("zo", "Somebody Else")):
        user = await new_user(instance, name)
        await user.call("PATCH", "/me", {"name": shown})

    async def find(query: str) -> list[str]:
        return addresses(await alice.call("GET", f"/people?query={query}"))

    assert await find("zo") == ["zo@one.test", "u2@one.test", "u1@one.test"]
    assert await find("ZOE") == ["u1@one.test"]
    assert await find("mull") == ["u1@one.test"]
    assert await find("petrov zor") == ["u2@one.test"]
    assert await find("u1@one.test") == ["u1@one.test"]
    assert await find("@u1:one") == ["u1@one.test"]
    assert await find("u1@two.test") == []
    assert await find("%27%3A%26") == []
    assert await find("uller") == []


async def test_a_long_list_of_people_comes_in_parts(instance: Instance) -> None:
    alice = await new_user(instance, "alice")
    for number in range(7):
        await new_user(instance, f"team-{number}")

    seen, path = [], "/people?query=team&limit=3"
    answer = await alice.get(path)
    while True:
        seen += addresses(answer)
        if answer["next"] is None:
            break
        answer = await alice.get(f"{path}&cursor={answer['next']}")

    assert seen == [f"team-{number}@one.test" for number in range(7)]


async def test_the_search_of_matrix_finds_the_same(alice: ApiUser, bob: ApiUser) -> None:
    await bob.call("PATCH", "/me", {"name": "Bobby Tables"})

    answer = await alice.matrix("POST", "/user_directory/search", {"search_term": "tabl"})
    own = await alice.matrix("POST", "/user_directory/search", {"search_term": "o", "limit": 1})

    assert answer == {
        "results": [{"user_id": bob.user_id, "display_name": "Bobby Tables"}],
        "limited": False,
    }
    assert own["results"] == []
    await alice.matrix("POST", "/user_directory/search", {}, status=400)
    await alice.matrix(
        "POST", "/user_directory/search", {"search_term": "x", "limit": -1}, status=400
    )


async def test_who_has_left_is_not_found(alice: ApiUser, bob: ApiUser) -> None:
    await bob.post("/me/delete", {"password": "sesame"})

    assert (await alice.get("/people?query=bob"))["items"] == []


# ---------------------------------------------------------------- contacts


async def test_contacts_are_kept_with_notes(alice: ApiUser, bob: ApiUser) -> None:
    added = await alice.call("PUT", f"/contacts/{bob.address}", {"note": "from the choir"})
    await alice.call("PUT", "/contacts/carol@two.test", {})
    listed = await alice.get("/contacts")
    alone = await alice.get(f"/contacts/{bob.address}")
    await alice.call("GET", "/contacts/ghost@one.test", status=404)
    first = await alice.get("/contacts?limit=1")
    rest = await alice.get(f"/contacts?limit=1&cursor={first['next']}")
    profile = await alice.get(f"/people/{bob.address}")
    changed = await alice.call("PUT", f"/contacts/{bob.address}", {"note": None})
    await alice.call("DELETE", f"/contacts/{bob.address}")
    await alice.call("DELETE", f"/contacts/{bob.address}", status=404)

    assert added["note"] == "from the choir"
    assert added["since"] is not None
    assert alone == listed["items"][0]
    assert addresses(listed) == ["bob@one.test", "carol@two.test"]
    assert listed["items"][1]["person"]["is_local"] is False
    assert addresses(first) == ["bob@one.test"]
    assert addresses(rest) == ["carol@two.test"]
    assert rest["next"] is None
    assert profile["is_contact"] is True
    assert profile["note"] == "from the choir"
    assert changed["note"] is None
    assert addresses(await alice.get("/contacts")) == ["carol@two.test"]


async def test_a_contact_is_consent_to_messages(alice: ApiUser, bob: ApiUser) -> None:
    await alice.matrix("PUT", "/_comity/client/v1/consent", {"preset": "closed"})
    invitation = {"is_direct": True, "invite": [alice.user_id]}

    await bob.matrix("POST", "/createRoom", invitation, status=403)
    await alice.call("PUT", f"/contacts/{bob.address}", {})

    await bob.matrix("POST", "/createRoom", invitation)


async def test_nobody_is_their_own_contact_and_ghosts_are_none(alice: ApiUser) -> None:
    await alice.call("PUT", f"/contacts/{alice.address}", {}, status=400)
    await alice.call("PUT", "/contacts/ghost@one.test", {}, status=404)
    await alice.call("PUT", "/contacts/nonsense", {}, status=400)
    await alice.get("/contacts?cursor=nonsense", status=400)


# ---------------------------------------------------------------- blocking


async def test_who_is_blocked_cannot_write_and_is_ignored(alice: ApiUser, bob: ApiUser) -> None:
    await alice.call("PUT", f"/blocked/{bob.address}")

    listed = await alice.get("/blocked")
    profile = await alice.get(f"/people/{bob.address}")
    path = f"/user/{alice.user_id}/account_data/m.ignored_user_list"
    ignored = await alice.matrix("GET", path)
    invitation = {"is_direct": True, "invite": [alice.user_id]}
    await bob.matrix("POST", "/createRoom", invitation, status=403)
    await alice.call("DELETE", f"/blocked/{bob.address}")

    assert addresses(listed) == ["bob@one.test"]
    assert profile["is_blocked"] is True
    assert ignored == {"ignored_users": {"@bob:one.test": {}}}
    assert (await alice.get("/blocked"))["items"] == []
    assert (await alice.matrix("GET", path)) == {"ignored_users": {}}
    await bob.matrix("POST", "/createRoom", invitation)


async def test_whom_a_matrix_client_ignores_is_among_the_blocked(
    alice: ApiUser, bob: ApiUser
) -> None:
    path = f"/user/{alice.user_id}/account_data/m.ignored_user_list"
    await alice.matrix("PUT", path, {"ignored_users": {bob.user_id: {}, "nonsense": {}}})

    assert addresses(await alice.get("/blocked")) == ["bob@one.test"]


async def test_a_blocked_contact_is_a_contact_no_more(alice: ApiUser, bob: ApiUser) -> None:
    await alice.call("PUT", f"/contacts/{bob.address}", {})
    await alice.call("PUT", f"/blocked/{bob.address}")
    blocked = await alice.get("/contacts")
    await alice.call("PUT", f"/contacts/{bob.address}", {})

    assert blocked["items"] == []
    assert addresses(await alice.get("/contacts")) == ["bob@one.test"]
    assert (await alice.get("/blocked"))["items"] == []


# ---------------------------------------------------------------- presence


async def share(owner: ApiUser, *others: ApiUser) -> None:
    room = await owner.matrix("POST", "/createRoom", {"preset": "public_chat"})
    for other in others:
        await other.matrix("POST", f"/join/{room['room_id']}", {})


async def test_presence_is_set_and_seen_by_who_shares_a_conversation(
    instance: Instance, alice: ApiUser, bob: ApiUser
) -> None:
    carol = await new_user(instance, "carol")
    await share(alice, bob)

    own = await alice.call("PUT", "/me/presence", {"state": "busy", "text": "in a meeting"})
    seen = await bob.get("/people/alice@one.test/presence")
    stranger = await carol.get("/people/alice@one.test/presence")
    matrix = await bob.matrix("GET", "/presence/@alice:one.test/status")
    back = await alice.call("PUT", "/me/presence", {"state": "online"})

    assert own["state"] == seen["state"] == "busy"
    assert seen["text"] == "in a meeting"
    assert stranger["state"] == "offline"
    assert stranger["text"] is None
    assert matrix["presence"] == "unavailable"
    assert matrix["org.matrix.msc3026.busy"] is True
    assert back == {**back, "state": "online", "text": "in a meeting", "active_now": True}
    assert back["last_seen_at"] is not None


async def test_a_matrix_client_that_is_busy_is_busy_here(alice: ApiUser) -> None:
    body = {"presence": "org.matrix.msc3026.busy"}
    await alice.matrix("PUT", f"/presence/{alice.user_id}/status", body)
    await alice.matrix("GET", "/sync?timeout=0")

    assert (await alice.get(f"/people/{alice.address}/presence"))["state"] == "busy"


async def test_many_are_asked_for_at_once_in_one_statement(
    instance: Instance, alice: ApiUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [await new_user(instance, f"user{number}") for number in range(20)]
    await share(alice, *others)
    await others[0].call("PUT", "/me/presence", {"state": "away"})
    await others[1].call("PUT", "/me/presence", {"state": "online"})
    hide = {"preset": "closed"}
    await others[1].matrix("PUT", "/_comity/client/v1/consent/presence", hide)
    await others[2].matrix("PUT", "/_comity/client/v1/consent/presence", hide)
    asked = [user.address for user in others] + ["nobody@two.test"]
    await alice.get("/me")
    statements = 0
    database = instance.wiring.database
    fetch = database.fetch

    async def counted(*args: Any, **options: Any) -> Any:
        nonlocal statements
        statements += 1
        return await fetch(*args, **options)

    monkeypatch.setattr(database, "fetch", counted)
    answer = await alice.post("/presence/query", {"people": asked})

    assert [item["address"] for item in answer["items"]] == asked
    assert [item["state"] for item in answer["items"][:3]] == ["away", "offline", "offline"]
    assert statements == 1


async def test_too_many_and_nobody_are_refused(alice: ApiUser) -> None:
    await alice.post("/presence/query", {"people": ["a@one.test"] * 501}, status=422)
    await alice.post("/presence/query", {"people": []}, status=422)
    await alice.post("/presence/query", {"people": ["nonsense"]}, status=400)
    await alice.call("PUT", "/me/presence", {"state": "asleep"}, status=422)
    assert len((await alice.post("/presence/query", {"people": ["a@one.test"] * 500}))["items"])


async def test_who_is_here_is_counted_but_not_who_hides(
    instance: Instance, alice: ApiUser, bob: ApiUser
) -> None:
    carol = await new_user(instance, "carol")
    await carol.matrix("PUT", "/_comity/client/v1/consent/presence", {"preset": "closed"})
    for user, state in ((alice, "online"), (bob, "busy"), (carol, "online")):
        await user.call("PUT", "/me/presence", {"state": state})

    assert await alice.get("/presence/online-count") == {
        "total": 2,
        "online": 1,
        "away": 0,
        "busy": 1,
    }


async def test_a_contact_sees_presence_without_a_conversation(alice: ApiUser, bob: ApiUser) -> None:
    await alice.call("PUT", "/me/presence", {"state": "away"})
    before = await bob.get(f"/people/{alice.address}/presence")
    await alice.call("PUT", f"/contacts/{bob.address}", {})
    after = await bob.get(f"/people/{alice.address}/presence")

    assert (before["state"], after["state"]) == ("offline", "away")
