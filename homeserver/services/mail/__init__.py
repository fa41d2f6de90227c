"""E-mail: composing it, handing it to the SMTP server, and what it says."""

from homeserver.services.mail.composing import Mail
from homeserver.services.mail.mailer import Mailer
from homeserver.services.mail.smtp import MailDisabled, MailFailed

__all__ = ["Mail", "MailDisabled", "MailFailed", "Mailer"]
