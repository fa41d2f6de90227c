"""End-to-end encryption across two servers: device keys, one-time keys, to-device, Megolm."""

from .conftest import Case


async def test_encrypted_messages_go_both_ways(case: Case) -> None:
    """Each decrypts what the other wrote, and the servers saw only ciphertext."""
    host, guest = case.host, case.guest
    room_id = await case.new_room(encrypted=True)
    await host.knows_devices_of(guest)
    await guest.knows_devices_of(host)

    for speaker, listener in [(host, guest), (guest, host)]:
        secret = f"my name, dear saint, is hateful to myself ({speaker})"
        event_id = await speaker.send(room_id, secret)
        await listener.sees_text(room_id, secret)

        raw = await listener.event(room_id, event_id)
        assert raw["type"] == "m.room.encrypted"
        assert secret not in str(raw)
