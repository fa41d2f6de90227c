"""The figures as a table: one row each, with the ratio and the budget of the design."""

from collections.abc import Mapping

from .measures import Figures

# What the design promises, by the name of the figure.
BUDGETS = {
    "sends per second": "50 x",
    "delivery p99, flat out (ms)": "1/20",
    "delivery p99, 5/s (ms)": "1/20",
    "pair: delivery p99, flat out (ms)": "1/10",
    "pair: delivery p99, 5/s (ms)": "1/10",
    "memory, idle (MiB)": "<= 80 MiB",
    "start to first answer (s)": "<= 2 s",
    "cost with long to short history": "<= 1.5",
}
BUDGETS_BY_PREFIX = {"cost at": "<= 1.5", "join over federation": "1/10"}
HEAD = ("", "Synapse", "Comity", "ratio", "budget")


def table(results: Mapping[str, Figures]) -> str:
    """The results of one or both kinds of servers, as text."""
    synapse, comity = results.get("synapse", {}), results.get("comity", {})
    names = list(dict.fromkeys([*synapse, *comity]))
    rows = [HEAD, *(_row(name, synapse.get(name), comity.get(name)) for name in names)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * len(max(lines, key=len)))
    return "\n".join(lines)


def _row(name: str, synapse: float | None, comity: float | None) -> tuple[str, ...]:
    ratio = "" if not synapse or not comity else _ratio(comity / synapse)
    by_prefix = (text for start, text in BUDGETS_BY_PREFIX.items() if name.startswith(start))
    budget = BUDGETS.get(name) or next(by_prefix, "")
    return (name, _number(synapse), _number(comity), ratio, budget)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:.2f}"


def _ratio(ratio: float) -> str:
    return f"{ratio:.1f} x" if ratio >= 1 else f"1/{1 / ratio:.1f}"
