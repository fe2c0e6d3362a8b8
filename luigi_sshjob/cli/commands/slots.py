"""`luigi-sshjob slots`: who has the slots of a host, and who waits for them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from luigi_sshjob.cli.hosts import find_hosts
from luigi_sshjob.cli.render import format_age, print_json, print_rich, strip_escapes
from luigi_sshjob.jobs.slot_table import SlotTable, SlotUser, read_slot_table


def run(arguments: argparse.Namespace) -> int:
    """Print the resources, the holders and the queue."""
    host = find_hosts(arguments, arguments.host)[0]
    table = read_slot_table(host.connection, host.base_dir)
    if arguments.json:
        print_json(_table_dict(table))
        return 0
    _print(
        ("RESOURCE", "SUPPLY", "USED", "FREE", "SOURCE"),
        [(each.name, _count(each.supply), str(each.used), _count(each.free), each.source) for each in table.resources],
    )
    if table.holders:
        print()
        rows = [(_numbers(each.numbers), *_who(each)) for each in table.holders]
        _print(("HAS", "ACCOUNT", "JOB", "FOR"), rows)
    if table.queue:
        print()
        waiting = [(str(place), _needed(each), *_who(each)) for place, each in enumerate(table.queue, 1)]
        _print(("PLACE", "WAITS FOR", "ACCOUNT", "JOB", "FOR"), waiting)
    return 0


def _print(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    printed = Table(box=None, pad_edge=False)
    for heading in headings:
        printed.add_column(heading)
    for row in rows:
        # not as a str, which rich would interpret as markup
        printed.add_row(*(Text(strip_escapes(value)) for value in row))
    print_rich(printed)


def _count(count: int | None) -> str:
    return "unknown" if count is None else str(count)


def _numbers(numbers: dict[str, list[int]]) -> str:
    return " ".join(f"{name}:{','.join(map(str, each))}" for name, each in numbers.items())


def _needed(user: SlotUser) -> str:
    return " ".join(f"{name}:{count}" for name, count in user.needed.items())


def _who(user: SlotUser) -> tuple[str, str, str]:
    return user.account or "unknown", user.job, format_age(user.since)


def _table_dict(table: SlotTable) -> dict[str, object]:
    # docs/cli.rst documents the keys
    return {
        "directory": table.directory,
        "resources": [
            {"name": each.name, "supply": each.supply, "used": each.used, "free": each.free, "source": each.source}
            for each in table.resources
        ],
        "holders": [
            {"slots": each.numbers, "account": each.account, "job": each.job, "since": each.since}
            for each in table.holders
        ],
        "queue": [
            {"slots": each.needed, "account": each.account, "job": each.job, "since": each.since}
            for each in table.queue
        ],
    }
