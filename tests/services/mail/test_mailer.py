"""Mail through a real SMTP server: what arrives, what is tried again, what a log may say."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme

from homeserver.cli.doctor import check_mail
from homeserver.config import load_config
from homeserver.protocol.email_addresses import parse_sender
from homeserver.services.mail import MailDisabled, Mailer, MailFailed
from homeserver.services.mail.mailer import GIVE_UP_AFTER_MS, PAUSE_MS
from homeserver.services.mail.smtp import Smtp
from homeserver.services.mail.templates import Button, in_both_forms
from homeserver.storage.database import Database
from tests.harness.mailbox import Mailbox, mailbox, settings

ALICE = "alice@example.org"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


def make_mailer(
    directory: Path,
    database: Database,
    box: Mailbox,
    clock: Callable[[], int] | None = None,
    **email: Any,
) -> Mailer:
    path = directory / "comity.yaml"
    path.write_text(f"server_name: one.test\nemail: {settings(box, **email)}")
    config = load_config(path, {})
    return Mailer(
        smtp=Smtp(config.email, server_name="one.test"),
        sender=parse_sender(config.email.sender or ""),
        max_queued=config.email.max_queued,
        database=database,
        clock_ms=clock or Clock(),
    )


async def test_a_mail_arrives_in_both_forms(tmp_path: Path, database: Database) -> None:
    text, html = in_both_forms(
        "Hello <you>", ["Grüße & more", Button("Go", "https://one.test/?a=1&b=2")], "one.test"
    )
    async with mailbox() as box:
        await make_mailer(tmp_path, database, box).send(ALICE, "Grüße", text, html)

    (mail,) = box.mails
    assert box.recipients == [[ALICE]]
    assert (mail["From"], mail["To"]) == ("Example Chat <noreply@example.org>", ALICE)
    assert mail["Subject"] == "Grüße"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "Grüße & more" in box.text() and box.link() == "https://one.test/?a=1&b=2"
    rich = mail.get_body(("html",))
    assert rich is not None
    assert "Hello &lt;you&gt;" in rich.get_content()
    assert 'href="https://one.test/?a=1&amp;b=2"' in rich.get_content()


@pytest.mark.parametrize(
    ("to", "subject"),
    [
        (ALICE, "Hi\r\nBcc: eve@example.org"),
        (ALICE, "Hi\nBcc: eve@example.org\n\nbody"),
        (ALICE, "Hi\u2028Bcc: eve@example.org"),
    ],
)
async def test_no_header_can_be_injected(
    tmp_path: Path, database: Database, to: str, subject: str
) -> None:
    async with mailbox() as box:
        await make_mailer(tmp_path, database, box).send(to, subject, "text", "<p>text</p>")

    assert box.mails[0]["Bcc"] is None
    assert box.recipients == [[ALICE]]
    assert "\n" not in box.mails[0]["Subject"]


async def test_an_address_with_a_line_break_is_refused(tmp_path: Path, database: Database) -> None:
    async with mailbox() as box:
        with pytest.raises(MailFailed) as refusal:
            await make_mailer(tmp_path, database, box).send(
                f"{ALICE}\r\nBcc: eve@example.org", "Hi", "text", "html"
            )

    assert not refusal.value.temporary
    assert box.mails == []


@pytest.mark.parametrize("mode", ["tls", "starttls"])
async def test_the_connection_is_encrypted_and_logged_in(
    tmp_path: Path, database: Database, mode: str
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    (tmp_path / "password").write_text("sesame\n")
    options: dict[str, Any] = {mode: context}

    async with mailbox(login=("comity", "sesame"), **options) as box:
        mailer = make_mailer(
            tmp_path,
            database,
            box,
            tls=mode,
            ca_file="ca.pem",
            user="comity",
            password_file="password",
        )
        await mailer.send(ALICE, "Hi", "text", "html")

    assert len(box.mails) == 1


async def test_a_server_without_encryption_gets_nothing_where_it_is_wanted(
    tmp_path: Path, database: Database
) -> None:
    async with mailbox() as box:
        with pytest.raises(MailFailed):
            await make_mailer(tmp_path, database, box, tls="starttls").send(ALICE, "Hi", "t", "h")

    assert box.mails == []


async def test_a_wrong_password_is_said_without_being_told(
    tmp_path: Path, database: Database
) -> None:
    async with mailbox(login=("comity", "sesame")) as box:
        mailer = make_mailer(tmp_path, database, box, user="comity", password="geheim")
        with pytest.raises(MailFailed) as refusal:
            await mailer.send(ALICE, "Hi", "t", "h")

    assert "log-in refused" in refusal.value.reason
    assert "geheim" not in refusal.value.reason


@pytest.mark.parametrize(
    ("answer", "temporary"),
    [("451 come back later", True), ("421 busy", True), ("554 no such mailbox alice", False)],
)
async def test_a_refusal_says_whether_to_try_again(
    tmp_path: Path, database: Database, answer: str, temporary: bool
) -> None:
    async with mailbox() as box:
        box.answers.append(answer)
        with structlog.testing.capture_logs() as logs, pytest.raises(MailFailed) as refusal:
            await make_mailer(tmp_path, database, box).send(ALICE, "Secret", "words", "<p>words")

    assert refusal.value.temporary is temporary
    said = str(logs)
    assert logs and ALICE not in said and "alice" not in said
    assert "Secret" not in said and "words" not in said


async def test_queued_mail_outlives_its_process_and_an_absent_server(
    tmp_path: Path, database: Database
) -> None:
    clock = Clock()
    async with mailbox() as box:
        before = make_mailer(tmp_path, database, box, clock)
        await before.queue(ALICE, "Hi", "text", "html")
        box.answers.append("451 not now")

        await before.work_off()
        tried_once = len(box.mails)
        after = make_mailer(tmp_path, database, box, clock)
        await after.work_off()
        too_soon = len(box.mails)
        clock.now += PAUSE_MS
        await after.work_off()
        await after.work_off()

    assert (tried_once, too_soon) == (0, 0)
    assert [mail["Subject"] for mail in box.mails] == ["Hi"]


async def test_queued_mail_is_given_up_after_a_day(tmp_path: Path, database: Database) -> None:
    clock = Clock()
    async with mailbox() as box:
        mailer = make_mailer(tmp_path, database, box, clock)
        await mailer.queue(ALICE, "Hi", "text", "html")
        clock.now += GIVE_UP_AFTER_MS
        box.answers.append("451 not now")

        await mailer.work_off()

    assert await database.fetchval("SELECT count(*) FROM mail_queue") == 0


async def test_the_queue_is_bounded(tmp_path: Path, database: Database) -> None:
    async with mailbox() as box:
        mailer = make_mailer(tmp_path, database, box, max_queued=2)
        await mailer.queue(ALICE, "1", "text", "html")
        await mailer.queue(ALICE, "2", "text", "html")

        with pytest.raises(MailFailed):
            await mailer.queue(ALICE, "3", "text", "html")


async def test_the_worker_sends_what_is_queued(tmp_path: Path, database: Database) -> None:
    async with mailbox() as box:
        mailer = make_mailer(tmp_path, database, box)
        await mailer.start()
        try:
            await mailer.queue(ALICE, "Hi", "text", "html")
            (mail,) = await box.wait_for(1)
        finally:
            await mailer.close()

    assert mail["Subject"] == "Hi"


async def test_the_doctor_tries_the_smtp_server(tmp_path: Path) -> None:
    path = tmp_path / "comity.yaml"
    async with mailbox(login=("comity", "sesame")) as box:
        found = []
        for password in ("sesame", "geheim"):
            email = settings(box, user="comity", password=password)
            path.write_text(f"server_name: one.test\nemail: {email}")
            found.append(await check_mail(load_config(path, {})))
    path.write_text("server_name: one.test")
    found.append(await check_mail(load_config(path, {})))

    assert [well for well, _ in found] == [True, False, True]
    assert "geheim" not in found[1][1]


async def test_without_an_smtp_server_nothing_is_sent(database: Database) -> None:
    mailer = Mailer(smtp=None, sender=None, max_queued=1, database=database, clock_ms=Clock())

    with pytest.raises(MailDisabled):
        await mailer.send(ALICE, "Hi", "text", "html")
    with pytest.raises(MailDisabled):
        await mailer.queue(ALICE, "Hi", "text", "html")
