"""python -m bench commands | fanout | history | access [--quick] [--json FILE]"""

import argparse
import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import access, fanout, history, kafka_path, sqlite_path
from bench.figures import Line, keep, show
from infra.deploy.services.kafka import KafkaNode
from infra.deploy.services.kafka_jars import kafka_jars
from infra.deploy.services.native_process import ServiceUnavailable
from infra.deploy.services.together import services_folder
from infra.wiring.garbage import look_seldom


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder on a disk (not in memory), erased afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="opsconductor-bench-", dir="/var/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def commands(given: argparse.Namespace) -> Sequence[Line]:
    """The command path, on Kafka and on SQLite."""
    quick: bool = given.quick
    amounts = kafka_path.Amounts(
        rounds=given.rounds or (1 if quick else 5),
        commands=4_000 if quick else 20_000,
        alone=200 if quick else 500,
        at_once=2_000 if quick else 6_000,
    )
    lines: list[Line] = []
    raw: dict[str, object] = {}
    with scratch() as folder:
        if given.only in (None, "kafka"):
            try:
                with KafkaNode(home=folder, jars=kafka_jars(services_folder())) as kafka:
                    lines, raw["kafka"] = kafka_path.measure(kafka.address, folder, amounts)
            except ServiceUnavailable as absent:
                print(f"no Kafka here, left out: {absent}")
        if given.only in (None, "sqlite"):
            more, raw["sqlite"] = sqlite_path.measure(folder, amounts)
            lines += more
    show("The command path, beside a bare loop with the same guarantees", lines)
    keep(given.json, lines, raw)
    return lines


def fan_out(given: argparse.Namespace) -> Sequence[Line]:
    """`echo ok` on many targets."""
    present = fanout.has_ansible()
    if not present:
        print("ansible is not installed here, left out")
    with scratch() as folder:
        amounts = fanout.Amounts(
            given.targets, given.rounds or (1 if given.quick else 5), 0 if not present or given.without_ansible else 1
        )
        lines, raw = fanout.measure(folder, amounts)
    show(f"`echo ok` on {given.targets} SSH targets, {fanout.AT_ONCE} at a time", lines)
    keep(given.json, lines, raw)
    return lines


def long_history(given: argparse.Namespace) -> Sequence[Line]:
    """Many finished runs, beside a hundred."""
    runs = given.runs or (2_000 if given.quick else 100_000)
    with scratch() as folder:
        lines, raw = history.measure(folder, runs)
    show(f"{runs:,} finished runs in the log, beside 100", lines)
    keep(given.json, lines, raw)
    return lines


def decisions(given: argparse.Namespace) -> Sequence[Line]:
    """Whether somebody may, by custom roles, beside a built-in one."""
    amounts = access.Amounts(decisions=500, lists=50) if given.quick else access.Amounts()
    with scratch() as folder:
        lines, raw = access.measure(folder, amounts)
    show(f"A permission decision with {amounts.users:,} users and {amounts.roles:,} custom roles", lines)
    keep(given.json, lines, raw)
    return lines


def main() -> None:
    """Read the command line and run one bench."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Ours beside a yardstick, in one run.")
    benches = parser.add_subparsers(required=True)
    path = benches.add_parser("commands", help="commands/s and round trips, on Kafka and SQLite")
    path.add_argument("--only", choices=("kafka", "sqlite"))
    path.set_defaults(bench=commands)
    fan = benches.add_parser("fanout", help="echo ok on many SSH targets, beside ssh and ansible")
    fan.add_argument("--targets", type=int, default=100, metavar="COUNT")
    fan.add_argument("--without-ansible", action="store_true")
    fan.set_defaults(bench=fan_out)
    past = benches.add_parser("history", help="restart, memory and lists with many finished runs, beside a hundred")
    past.add_argument("--runs", type=int, metavar="COUNT", help="100,000 unless said; 2,000 with --quick")
    past.set_defaults(bench=long_history)
    rights = benches.add_parser("access", help="permission decisions and lists with many users and custom roles")
    rights.set_defaults(bench=decisions)
    for each in (path, fan):
        each.add_argument("--rounds", type=int, metavar="COUNT", help="how often everything is measured; medians are told")
    for each in (path, fan, past, rights):
        each.add_argument("--quick", action="store_true", help="less of everything: a look, not a measurement")
        each.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    given = parser.parse_args()
    look_seldom()
    given.bench(given)


if __name__ == "__main__":
    main()
