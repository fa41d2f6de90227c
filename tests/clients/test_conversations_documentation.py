"""docs/conversations-api.md leads from nothing to a chat across two instances, as it says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.conversations.test_messages_documentation import lacks
from tests.harness.ports import free_port

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "conversations-api.md"
BLOCK = re.compile(r"^```(sh|json|python|js)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PORTS = ("8101", "8102")
FILES = {"python": "echo.py", "js": "say.mjs"}
END = "-- end of the answer --"
PATIENCE_SECONDS = 180
COMITY = "from homeserver.cli import main; main()"


@asynccontextmanager
async def program(*command: str, cwd: Path, **options: Any) -> AsyncIterator[Any]:
    """A program that runs meanwhile, and is asked to end then."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), **options},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def until(process: Any, words: str) -> str:
    """What a program prints before a line with these words."""
    printed = ""
    while True:
        line = (await process.stdout.readline()).decode()
        assert line, f"it ended: {printed}"
        if words in line:
            return printed
        printed += line


async def answer(shell: Any, script: str) -> str:
    """What a block of commands prints."""
    shell.stdin.write(f"{script}\necho; echo '{END}'\n".encode())
    await shell.stdin.drain()
    return await until(shell, END)


def blocks(port: int) -> list[tuple[str, str]]:
    """The page's commands, promises and programs, for instances at other ports."""
    text = PAGE.read_text("utf-8")
    for number, shown in enumerate(PORTS):
        text = text.replace(shown, str(port + number))
    return BLOCK.findall(text)


def lacking(printed: str, promised: str) -> list[str]:
    """Where an answer lacks what the page promises."""
    try:
        return lacks(json.loads(printed), json.loads(promised))
    except ValueError:
        return [f"no JSON: {printed!r}"]


async def test_the_page_leads_to_a_chat_across_two_instances(tmp_path: Path) -> None:
    for name in ("clients",):
        (tmp_path / name).symlink_to(ROOT / name)
    port = free_port(following=1)
    stay = (sys.executable, "-c", COMITY, "demo", "--stay", "--port", str(port))
    wrong: list[str] = []
    script = printed = ""

    async with asyncio.timeout(PATIENCE_SECONDS), AsyncExitStack() as running:
        demo = await running.enter_async_context(program(*stay, cwd=tmp_path))
        await until(demo, "Ready")
        shell = await running.enter_async_context(program("bash", cwd=tmp_path))
        for kind, text in blocks(port):
            if kind == "sh":
                script, printed = text, await answer(shell, text)
            elif kind == "json":
                wrong += [f"{script}: {problem}" for problem in lacking(printed, text)]
            else:
                (tmp_path / FILES[kind]).write_text(text)
            if kind == "python":
                two = f"http://127.0.0.1:{port + 1}"
                bot = program(sys.executable, FILES[kind], cwd=tmp_path, TWO=two)
                await until(await running.enter_async_context(bot), "Bob listens")

    assert len([kind for kind, _ in blocks(port) if kind == "json"]) > 10
    assert wrong == []
