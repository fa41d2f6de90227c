"""What people do in a room that spans two servers."""

import asyncio
import os

from .conftest import Case
from .person import Person


def _directions(case: Case) -> list[tuple[Person, Person]]:
    return [(case.host, case.guest), (case.guest, case.host)]


async def test_messages_go_both_ways_in_order(case: Case) -> None:
    """A dialogue arrives as it was spoken, on both sides."""
    room_id = await case.new_room()

    spoken = []
    for number in range(4):
        for speaker, listener in _directions(case):
            spoken.append(f"line {number} of {speaker}")
            await speaker.send(room_id, spoken[-1])
            await listener.sees_text(room_id, spoken[-1])

    for person in (case.host, case.guest):
        await person.sees_text(room_id, spoken[-1])
        assert person.texts(room_id, "line ") == spoken


async def test_a_burst_arrives_once_and_in_order(case: Case) -> None:
    """Messages that one person sends without waiting for the other keep their order."""
    room_id = await case.room()

    for speaker, listener in _directions(case):
        burst = [f"burst of {speaker}: {number}" for number in range(12)]
        for text in burst:
            await speaker.send(room_id, text)
        await listener.sees_text(room_id, burst[-1])
        assert listener.texts(room_id, f"burst of {speaker}") == burst


async def test_edits_and_reactions_cross(case: Case) -> None:
    """Relations refer to the same event on both servers."""
    room_id = await case.room()

    for speaker, listener in _directions(case):
        event_id = await speaker.send(room_id, "what light thruogh yonder window")
        new = {"msgtype": "m.text", "body": "what light through yonder window"}
        relation = {"rel_type": "m.replace", "event_id": event_id}
        edit_id = await speaker.send(
            room_id, {**new, "body": "* edit", "m.new_content": new, "m.relates_to": relation}
        )
        edit = await listener.sees_event(room_id, edit_id)
        annotation = {"rel_type": "m.annotation", "event_id": event_id, "key": "❤️"}
        reaction_id = await listener.send_event(room_id, "m.reaction", {"m.relates_to": annotation})
        reaction = await speaker.sees_event(room_id, reaction_id)

        assert edit["content"]["m.new_content"] == new
        assert edit["content"]["m.relates_to"] == relation
        assert reaction["content"]["m.relates_to"] == annotation


async def test_a_redacted_message_is_gone_on_both_sides(case: Case) -> None:
    """After a redaction neither server hands out the text."""
    room_id = await case.room()

    for speaker, listener in _directions(case):
        event_id = await speaker.send(room_id, f"a slip of {speaker}'s tongue")
        await listener.sees_event(room_id, event_id)
        redaction_id = await speaker.redact(room_id, event_id)
        redaction = await listener.sees_event(room_id, redaction_id)

        redacts = redaction.get("redacts") or redaction["content"].get("redacts")
        assert redacts == event_id
        for person in (speaker, listener):
            assert (await person.event(room_id, event_id))["content"] == {}


async def test_receipts_and_typing_cross(case: Case) -> None:
    """Each sees how far the other has read, and that they are typing, and that they stopped."""
    room_id = await case.room()

    for speaker, listener in _directions(case):
        event_id = await speaker.send(room_id, f"did you read this, {listener}?")
        await listener.sees_event(room_id, event_id)
        await listener.read(room_id, event_id)
        await listener.start_typing(room_id)

        await speaker.sees_receipt(room_id, listener, event_id)
        await speaker.sees_typing(room_id, listener, True)
        await listener.start_typing(room_id, False)
        await speaker.sees_typing(room_id, listener, False)


async def test_state_changes_cross(case: Case) -> None:
    """A topic set by the host is the topic on both servers."""
    room_id = await case.room()

    event_id = await case.host.set_state(room_id, "m.room.topic", {"topic": "a plague"})

    seen = await case.guest.sees_event(room_id, event_id)
    assert seen["content"]["topic"] == "a plague"


async def test_media_cross(case: Case) -> None:
    """A file uploaded on one server is downloaded through the other, unchanged."""
    room_id = await case.room()

    for speaker, listener in _directions(case):
        data = os.urandom(200_000)
        uri = await speaker.upload(data, "application/octet-stream", "letter.bin")
        event_id = await speaker.send(
            room_id, {"msgtype": "m.file", "body": "letter.bin", "url": uri}
        )
        event = await listener.sees_event(room_id, event_id)
        download = await listener.download(event["content"]["url"])

        assert download.body == data
        assert download.filename == "letter.bin"


async def test_history_from_before_the_join_is_there(case: Case) -> None:
    """The guest's server fetches what was said before it took part."""
    host, guest = case.host, case.guest
    room_id = await host.create_room(case.room_version)
    before = [f"before {number}" for number in range(5)]
    for text in before:
        await host.send(room_id, text)

    await host.invite(room_id, guest)
    await guest.join(room_id)

    for _ in range(120):
        bodies = [e["content"].get("body", "") for e in await guest.earlier(room_id)]
        if [body for body in bodies if body.startswith("before ")] == before:
            break
        await asyncio.sleep(0.25)
    else:
        raise AssertionError(f"the history is {bodies}")
