"""Push rules, as a client changes them."""

import asyncio

import pytest

from homeserver import app_keys
from homeserver.services.push_rules import PushRuleService
from tests.client_api.conftest import Account, Server

CONTENT = "/pushrules/global/content"
CAKE = {"pattern": "cake*lie", "actions": ["notify"]}


async def own_rules(server: Server, alice: Account, kind: str = "content") -> list[str]:
    rules = await server.get("/pushrules/global/", token=alice.token)
    return [rule["rule_id"] for rule in rules[kind] if not rule["default"]]


async def test_everybody_has_the_default_rules_with_their_own_name_in_them(server: Server):
    alice = await server.new_account("alice")

    answer = await server.get("/pushrules/", token=alice.token)
    synced = await server.app[app_keys.ACCOUNT_DATA].changes(alice.user_id, 0, 2**40)
    stored = await server.get(f"/user/{alice.user_id}/account_data/m.push_rules", token=alice.token)

    rules = {rule["rule_id"]: rule for rule in answer["global"]["override"]}
    assert rules[".m.rule.invite_for_me"]["conditions"][2]["pattern"] == alice.user_id
    assert [(row.type, row.content) for row in synced] == [("m.push_rules", answer)]
    assert stored == answer


async def test_a_rule_of_ones_own(server: Server):
    alice = await server.new_account("alice")
    account_data = server.app[app_keys.ACCOUNT_DATA]

    await server.put(f"{CONTENT}/nocake", CAKE, token=alice.token)

    rule = await server.get(f"{CONTENT}/nocake", token=alice.token)
    assert rule == {"rule_id": "nocake", "default": False, "enabled": True, **CAKE}
    enabled = await server.get(f"{CONTENT}/nocake/enabled", token=alice.token)
    assert enabled == {"enabled": True}
    actions = await server.get(f"{CONTENT}/nocake/actions", token=alice.token)
    assert actions == {"actions": ["notify"]}
    synced = await account_data.changes(alice.user_id, 0, 2**40)
    assert rule in synced[0].content["global"]["content"]

    await server.delete(f"{CONTENT}/nocake", token=alice.token)
    await server.get(f"{CONTENT}/nocake", token=alice.token, status=404)


async def test_a_change_is_in_the_next_sync_and_only_there(server: Server):
    alice = await server.new_account("alice")
    service = server.app[app_keys.ACCOUNT_DATA]
    await service.put(alice.user_id, "org.example", {})
    [_, first] = await service.changes(alice.user_id, 0, 2**40)

    await server.put(f"{CONTENT}/nocake", CAKE, token=alice.token)

    [row] = await service.changes(alice.user_id, first.position, 2**40)
    assert row.type == "m.push_rules"
    assert await service.changes(alice.user_id, first.position + 1, 2**40) == []


async def test_rules_stand_where_they_are_put(server: Server):
    alice = await server.new_account("alice")
    for rule_id in ("c", "b", "a"):
        await server.put(f"{CONTENT}/{rule_id}", CAKE, token=alice.token)
    assert await own_rules(server, alice) == ["a", "b", "c"]

    await server.put(f"{CONTENT}/d?before=b", CAKE, token=alice.token)
    await server.put(f"{CONTENT}/e?after=b", CAKE, token=alice.token)

    assert await own_rules(server, alice) == ["a", "d", "b", "e", "c"]
    answer = await server.put(f"{CONTENT}/f?after=none", CAKE, token=alice.token, status=400)
    assert answer["errcode"] == "M_UNKNOWN"


async def test_default_rules_can_be_muted_but_not_deleted(server: Server):
    alice = await server.new_account("alice")
    path = "/pushrules/global/underride/.m.rule.message"

    await server.put(f"{path}/actions", {"actions": []}, token=alice.token)
    await server.put(f"{path}/enabled", {"enabled": False}, token=alice.token)

    rule = await server.get(path, token=alice.token)
    assert (rule["actions"], rule["enabled"], rule["default"]) == ([], False, True)
    await server.delete(path, token=alice.token, status=404)
    await server.put(path, {"actions": []}, token=alice.token, status=400)


async def test_who_deviates_has_a_ruleset_of_their_own_until_they_undo_it(server: Server):
    alice = await server.new_account("alice")
    service = server.app[app_keys.PUSH_RULES]
    users = {alice.user_id, "@bob:one.example"}
    assert service.ruleset_name(alice.user_id) == "default"
    path = "/pushrules/global/underride/.m.rule.message/enabled"

    await server.put(path, {"enabled": False}, token=alice.token)
    assert service.ruleset_name(alice.user_id) == alice.user_id
    assert service.deviating(users) == {alice.user_id}
    assert service.compiled(alice.user_id) is not service.compiled("default")

    await server.put(path, {"enabled": True}, token=alice.token)
    assert service.ruleset_name(alice.user_id) == "default"
    assert service.deviating(users) == set()
    assert service.compiled(alice.user_id) is service.compiled("default")


async def test_the_same_deviations_share_one_compiled_ruleset(server: Server):
    accounts = [await server.new_account(name) for name in ("alice", "bob")]
    for account in accounts:
        await server.put(f"{CONTENT}/nocake", CAKE, token=account.token)

    service = server.app[app_keys.PUSH_RULES]

    first, second = (service.compiled(account.user_id) for account in accounts)
    assert first is second


async def test_a_restart_forgets_nothing(server: Server, database, log):
    alice = await server.new_account("alice")
    await server.put(f"{CONTENT}/nocake", CAKE, token=alice.token)

    restarted = PushRuleService(database=database, log=log)
    await restarted.start()

    assert restarted.ruleset_name(alice.user_id) == alice.user_id
    assert restarted.rule(alice.user_id, "content", "nocake")["pattern"] == "cake*lie"


async def test_changes_at_once_are_all_kept(server: Server):
    alice = await server.new_account("alice")
    service = server.app[app_keys.PUSH_RULES]

    await asyncio.gather(
        *(
            service.put(alice.user_id, "content", f"r{n}", CAKE, before=None, after=None)
            for n in range(20)
        )
    )

    assert set(await own_rules(server, alice)) == {f"r{n}" for n in range(20)}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("content/x", {}),
        ("content/x", {"actions": "notify", "pattern": "a"}),
        ("content/x", {"actions": ["notify"]}),
        ("content/x", {"actions": [7], "pattern": "a"}),
        ("content/.m.mine", CAKE),
        ("content/a%2Fb", CAKE),
        ("content/a%5Cb", CAKE),
        ("nothing/x", CAKE),
        ("room/x", {"actions": []}),
        ("sender/x", {"actions": []}),
        ("override/x", {"actions": [], "conditions": [7]}),
        ("override/x", {"actions": [], "conditions": [{"kind": "event_match"}]}),
    ],
)
async def test_malformed_rules_are_refused(server: Server, path: str, body: dict):
    alice = await server.new_account("alice")

    await server.put(f"/pushrules/global/{path}", body, token=alice.token, status=400)

    assert server.app[app_keys.PUSH_RULES].ruleset_name(alice.user_id) == "default"


async def test_rules_that_are_not_there(server: Server):
    alice = await server.new_account("alice")

    for path in ("content/none", "nothing/none", "content/none/enabled", "content/none/actions"):
        await server.get(f"/pushrules/global/{path}", token=alice.token, status=404)
    await server.put(f"{CONTENT}/none/enabled", {"enabled": True}, token=alice.token, status=404)
    await server.put(f"{CONTENT}/none/actions", {"actions": []}, token=alice.token, status=404)
    await server.put(f"{CONTENT}/none/enabled", {}, token=alice.token, status=400)
    await server.delete(f"{CONTENT}/none", token=alice.token, status=404)
    await server.get("/pushrules/", status=401)
