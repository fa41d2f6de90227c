"""`python -m benchmarks`: run the measures and print the table."""

import argparse
import json
import os
import platform
import time
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path

import uvloop

from tests.harness import World

from . import __doc__ as package_doc
from . import attack, big, cost, measures, report, sockets
from .measures import Figures, Scale

KINDS = ("synapse", "comity")
OF_ONE = {"send": measures.send, "connected": big.connected, "account": big.account}
MEASURES = (*OF_ONE, "size", "connections", "process", "join", "pair")
# Of Comity alone: there is nothing to compare with.
OF_COMITY = {
    "policy": cost.policy,
    "attack": attack.attack,
    "ws": sockets.sockets,
    "long": big.long,
}
NEED_A_CROWD = {"size", "connections", "join"}
NEED_ANOTHER = {"join", "pair"}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description=package_doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="shorter and smaller")
    parser.add_argument("--only", choices=KINDS, help="measure one kind of server")
    parser.add_argument("--measure", default=",".join(MEASURES), help="which measures to run")
    parser.add_argument("--members", type=int, help="members of the largest room")
    parser.add_argument("--history", type=int, help="events of the longest history")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


async def _run_kind(kind: str, wanted: set[str], scale: Scale) -> Figures:
    """All measures of one kind of server, alone on the machine."""
    figures: Figures = {}
    with World(keep=bool(os.environ.get("COMITY_KEEP_WORLD"))) as world:
        for name, measure in OF_COMITY.items():
            if kind == "comity" and name in wanted:
                figures |= await _timed(f"{kind}: {name}", measure(world, scale))
        if not wanted & set(MEASURES):
            return figures
        first = world.server(kind, "one")
        await first.start_async()
        for name, alone in OF_ONE.items():
            if name in wanted:
                figures |= await _timed(f"{kind}: {name}", alone(first, scale))
        if wanted & NEED_A_CROWD:
            many = await measures.crowd(first, scale)
            if "size" in wanted:
                figures |= await _timed(f"{kind}: size", measures.size(many, scale))
            if "connections" in wanted:
                figures |= await _timed(f"{kind}: connections", measures.connections(many))
        if "process" in wanted:
            figures |= await _timed(f"{kind}: process", measures.process(first))
        if wanted & NEED_ANOTHER:
            second = world.server(kind, "two")
            await second.start_async()
            if "join" in wanted:
                figures |= await _timed(f"{kind}: join", measures.join(many, second))
            if "pair" in wanted:
                figures |= await _timed(f"{kind}: pair", measures.pair(first, second, scale))
    return figures


async def _timed(what: str, work: Awaitable[Figures]) -> Figures:
    started = time.monotonic()
    figures = await work
    print(f"{what} took {time.monotonic() - started:.0f} s", flush=True)
    return figures


def main() -> None:
    """Run what the command line asks for."""
    arguments = _arguments()
    scale = measures.QUICK if arguments.quick else Scale()
    if arguments.members:
        scale = replace(scale, many_members=arguments.members)
    if arguments.history:
        scale = replace(scale, long_history=arguments.history)
    wanted = set(arguments.measure.split(","))
    if not wanted <= {*MEASURES, *OF_COMITY}:
        raise SystemExit(f"--measure: choose from {', '.join((*MEASURES, *OF_COMITY))}")
    results = {
        kind: uvloop.run(_run_kind(kind, wanted, scale))
        for kind in KINDS
        if arguments.only in (None, kind)
    }
    print(f"\n{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    print(report.table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
