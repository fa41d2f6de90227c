"""One mail to the SMTP server of the configuration.  RFC 5321; 3207 (STARTTLS); 4954 (AUTH)."""

from __future__ import annotations

import ssl
from email.message import EmailMessage

import aiosmtplib

from homeserver.config_accounts import EmailConfig
from homeserver.errors import MatrixError


class MailDisabled(MatrixError):
    """The configuration names no SMTP server."""

    errcode, status = "M_THREEPID_DENIED", 403

    def __init__(self) -> None:
        super().__init__("This server sends no e-mail")


class MailFailed(MatrixError):
    """The SMTP server did not take a mail.  ``temporary``: it may later."""

    errcode, status = "M_UNKNOWN", 500

    def __init__(self, reason: str, *, temporary: bool) -> None:
        text = (
            "The e-mail could not be sent now: try again later"
            if temporary
            else "The e-mail could not be sent to that address"
        )
        super().__init__(text, status=503 if temporary else 400)
        self.reason = reason  # for the log and the admin: without addresses
        self.temporary = temporary


class Smtp:
    """Speaks with the SMTP server; a connection for each mail."""

    def __init__(self, config: EmailConfig, *, server_name: str) -> None:
        self._config = config
        self._server_name = server_name

    async def send(self, message: EmailMessage) -> None:
        """Hand a message over.  Raises: :class:`MailFailed`."""
        try:
            async with self._connection() as connection:
                await connection.send_message(message)
        except aiosmtplib.SMTPRecipientsRefused as error:
            code = error.recipients[0].code
            raise MailFailed(f"recipient refused ({code})", temporary=code < 500) from error
        except aiosmtplib.SMTPNotSupported as error:  # a name in letters beyond ASCII
            raise MailFailed("not supported by the SMTP server", temporary=False) from error
        except aiosmtplib.SMTPAuthenticationError as error:
            raise MailFailed(f"log-in refused ({error.code})", temporary=True) from error
        except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError) as error:
            # Not the recipient's fault, unless it is the content's: that is what a 5xx says.
            permanent = isinstance(error, aiosmtplib.SMTPDataError) and error.code >= 500
            reason = f"{type(error).__name__} ({error.code})"
            raise MailFailed(reason, temporary=not permanent) from error
        except (aiosmtplib.SMTPException, OSError, ssl.SSLError) as error:
            raise MailFailed(_why(error), temporary=True) from error

    async def check(self) -> str:
        """Connect, and log in; what the server calls itself.  Raises: :class:`MailFailed`."""
        try:
            async with self._connection() as connection:
                await connection.noop()
        except (aiosmtplib.SMTPException, OSError, ssl.SSLError) as error:
            raise MailFailed(_why(error), temporary=True) from error
        return f"{self._config.host}:{self._config.port} answers"

    def _connection(self) -> aiosmtplib.SMTP:
        config = self._config
        context = None
        if config.tls != "none":
            context = ssl.create_default_context()
            if config.ca_file is not None:
                context.load_verify_locations(config.ca_file)
        return aiosmtplib.SMTP(
            hostname=config.host,
            port=config.port,
            username=config.user,
            password=config.password,
            local_hostname=self._server_name.partition(":")[0],
            timeout=config.timeout_seconds,
            use_tls=config.tls == "tls",
            start_tls=config.tls == "starttls",
            tls_context=context,
        )


def _why(error: Exception) -> str:
    """What went wrong, in words that name no address."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"{type(error).__name__} ({error.code})"
    cause = error.__cause__ or error
    return (
        f"{type(error).__name__}: {cause}"
        if isinstance(cause, OSError)
        else f"{type(error).__name__}"
    )
