"""The kinds of events that some reader may not have, each made in four shapes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from homeserver.storage.erasures import RETENTION
from tests.integration.reading_world import ONCE, OURS, SECRET, SOON, World, named
from tests.integration.test_account_deletion import deactivate
from tests.integration.test_lying_peer import MALLORY, PEER


async def held(world: World, who: str) -> None:
    await world.speak(who, "holdme")
    await world.settle("withheld IS NOT NULL")


async def dropped(world: World, who: str) -> None:
    await held(world, who)
    await world.decide("drop")


async def soft_failed(world: World, who: str) -> None:
    await world.speak(who, "failme")
    await world.settle("soft_failed")


async def rejected(world: World, who: str) -> None:
    world.peer.auths, auths = world.peer.auths[:-1], world.peer.auths  # without their own join
    tip = world.peer.tip
    content = {"msgtype": "m.text", "body": SECRET}
    world.secrets.append(await world.deliver(world.peer.message(SECRET, content=content)))
    world.peer.auths, world.peer.tip = auths, tip
    await world.settle("rejected IS NOT NULL")


async def redacted(world: World, who: str) -> None:
    await world.speak(who)
    for event_id in world.secrets:
        path = f"/rooms/{world.room_id}/redact/{event_id}/{event_id[1:9]}"
        await world.call("dora", "PUT", path, {"reason": "no"})


async def expired(world: World, who: str) -> None:
    await world.speak(who, **SOON)
    await world.settle("erased = 'expired'")


async def viewed(world: World, who: str) -> None:
    await world.speak(who, **ONCE)
    for thread_id in ("main", world.root):
        where = world.secrets[-1] if thread_id == "main" else world.secrets[1]
        path = f"/rooms/{world.room_id}/receipt/m.read/{where}"
        await world.call("bob", "POST", path, {"thread_id": thread_id})
    await world.one.wiring.ends.work_off()
    for what in ("hide", "unhide"):  # what was viewed once does not come back
        path = f"{OURS}/rooms/{world.room_id}/{what}"
        await world.call("bob", "POST", path, {"event_ids": world.secrets})


async def purged(world: World, who: str) -> None:
    await world.speak(who)
    await world.one.wiring.ends.deletion.delete_event_content(
        world.secrets, why=RETENTION, tell=False
    )


async def hidden(world: World, who: str) -> None:
    await world.speak(who)
    path = f"{OURS}/rooms/{world.room_id}/hide"
    await world.call("bob", "POST", path, {"event_ids": world.secrets})
    for event_id in world.secrets[:2]:  # what corrects it later says the same
        relation = {"rel_type": "m.replace", "event_id": event_id}
        new = {"msgtype": "m.text", "body": SECRET}
        edit = await world.say(who, SECRET, **{"m.relates_to": relation, "m.new_content": new})
        world.secrets.append(edit)


async def of_a_blocked_user(world: World, who: str) -> None:
    await world.speak(who)
    peer = MALLORY if who == "mallory" else f"@{who}:one.test"
    await world.call("bob", "PUT", f"{OURS}/consent/message/{peer}", {"state": "denied"})


async def of_an_ignored_user(world: World, who: str) -> None:
    await world.speak(who)
    peer = MALLORY if who == "mallory" else f"@{who}:one.test"
    path = "/user/@bob:one.test/account_data/m.ignored_user_list"
    await world.call("bob", "PUT", path, {"ignored_users": {peer: {}}})


async def of_a_blocked_instance(world: World, who: str) -> None:
    await world.speak(who)
    await world.call("bob", "PUT", f"{OURS}/consent/message/{PEER}", {"state": "denied"})


async def of_an_erased_account(world: World, who: str) -> None:
    await world.call(who, "PUT", f"/profile/@{who}:one.test/displayname", named(SECRET))
    await world.speak(who)
    for event_id in world.secrets[:1]:  # the reason is theirs, too
        path = f"/rooms/{world.room_id}/redact/{event_id}/r"
        await world.call(who, "PUT", path, {"reason": SECRET})
    await deactivate(world.one, world.tokens[who], who, erase=True)


async def before_the_join(world: World, who: str) -> None:
    path = f"/rooms/{world.room_id}/state/m.room.history_visibility"
    await world.call("dora", "PUT", path, {"history_visibility": "joined"})
    await world.speak(who)


@dataclass(frozen=True)
class Kind:
    """A kind of event, and what becomes of it."""

    make: Callable[[World, str], Awaitable[None]]
    who: str = "alice"
    reader: str = "bob"
    never: bool = False  # nobody ever got it
    for_all: bool = True  # newcomers do not get it, either
    ids: bool = False  # its ID may be seen
    elsewhere: str = "whole"  # what other instances get: whole, redacted, absent
    deleted: bool = False  # from the database


KINDS = {
    "held": Kind(held, never=True, elsewhere="absent"),
    "held, of elsewhere": Kind(held, "mallory", never=True),
    "dropped": Kind(dropped, never=True, elsewhere="absent", deleted=True),
    "dropped, of elsewhere": Kind(
        dropped, "mallory", never=True, elsewhere="redacted", deleted=True
    ),
    "soft-failed": Kind(soft_failed, "mallory", never=True),
    "rejected": Kind(rejected, "mallory", never=True, elsewhere="absent"),
    "redacted": Kind(redacted, ids=True, elsewhere="redacted"),
    "redacted, of elsewhere": Kind(redacted, "mallory", ids=True, elsewhere="redacted"),
    "expired": Kind(expired, ids=True, elsewhere="redacted", deleted=True),
    "expired, of elsewhere": Kind(expired, "mallory", ids=True, elsewhere="redacted", deleted=True),
    "viewed once": Kind(viewed, for_all=False),
    "purged": Kind(purged, elsewhere="redacted", deleted=True),
    "hidden": Kind(hidden, for_all=False),
    "of a blocked user": Kind(of_a_blocked_user, for_all=False),
    "of a blocked user elsewhere": Kind(of_a_blocked_user, "mallory", for_all=False),
    "of an ignored user": Kind(of_an_ignored_user, for_all=False),
    "of a blocked instance": Kind(of_a_blocked_instance, "mallory", for_all=False),
    "of an erased account": Kind(
        of_an_erased_account, reader="carol", ids=True, elsewhere="redacted"
    ),
    "before the join": Kind(before_the_join, reader="carol", for_all=False, elsewhere="redacted"),
}
