"""Commands for runs."""

import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from infra.cli.client import Client, ServerRefused, ServerUnreachable
from infra.cli.context import CONTEXT, RUN_STATUS, Output, at, exiting, show_list, show_one, write
from infra.cli.following import Following
from infra.cli.render import Renderer, harmless
from infra.cli.run_parameters import given
from infra.cli.targets import Limit

if TYPE_CHECKING:  # what draws on a terminal takes a while to load, and a pipe does without
    from rich.console import Console
    from rich.live import Live

app = typer.Typer(no_args_is_help=True, help="Jobs as they are done on targets.")
COLUMNS = ["id", "job", "revision", "state", "requested_by", "requested_at", "finished_at", "targets"]
RawText = Annotated[
    bool, typer.Option("--raw", help="Do not strip control sequences, as is done at a terminal and in lines that are followed.")
]
Parameters = Annotated[list[str] | None, typer.Option("-p", "--parameter", help="name=value; may be repeated. Not for secrets.")]
ParameterFiles = Annotated[
    list[str] | None,
    typer.Option(
        help="name=FILE: the value is what the file says, without its last line end; - is standard input. May be repeated."
        " Required secrets that are not given are asked for at a terminal."
    ),
]


@app.command()
def start(
    job: str,
    parameter: Parameters = None,
    parameter_file: ParameterFiles = None,
    targets: Annotated[str | None, typer.Option(help="Narrow the job's selector.")] = None,
    reason: str = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan; nothing is recorded.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show output until the run ends; exit with its result.")] = False,
    raw: RawText = False,
    output: Output = "table",
) -> None:  # fmt: skip
    """Start a run. With --follow the exit status is the run's result: 0 succeeded, 1 failed, 3 cancelled, 4 timed out, 5 lost."""
    with exiting():
        client, renderer = CONTEXT.client(), Renderer(output)
        values = given(client, job, parameter or [], parameter_file or [])
        body = {"parameters": values, "targets": targets, "reason": reason, "dry_run": dry_run}
        answer = client.send("POST", at("jobs", job, "runs"), {k: v for k, v in body.items() if v is not None})
        if not follow or dry_run:
            renderer.one(answer)
            return
        raise typer.Exit(_follow(client, renderer, answer["run_id"], raw))


def _follow(client: Client, renderer: Renderer, run: str, raw: bool) -> int:
    renderer.note(f"run {run}")
    following = Following(client, run, renderer.note, known=True)
    with following.told():
        _show_live(client, following, renderer, run, raw)
        final = following.result(at("runs", run))
    if renderer.form == "json":
        renderer.one(final)
    else:
        counts = ", ".join(f"{count} {state}" for state, count in final["targets"].items() if count and state != "total")
        failure = f" ({final['error']['message']})" if final.get("error") else ""
        renderer.note(f"run {run} {final['state']}: {counts or _how_many(final['targets']['total'])}{failure}")
    return RUN_STATUS.get(final["state"], 1)


def _show_live(client: Client, following: Following, renderer: Renderer, run: str, raw: bool) -> None:
    """Show the output until the run ends, on a terminal with its progress below."""
    events = following.output(_followed(run), {"Ops-Min-Version": f"run/{run}@1"})
    if not renderer.on_terminal or renderer.form == "json":
        _print_output(events, _Printer(None, raw), as_json=renderer.form == "json")
        return
    from rich.live import Live
    from rich.text import Text

    with Live(Text(""), console=renderer.console, transient=True) as live:
        done = threading.Event()
        ticker = threading.Thread(target=_show_progress, args=(client, run, live, done), daemon=True)
        ticker.start()
        try:
            _print_output(events, _Printer(live.console, raw))
        finally:
            done.set()
        ticker.join(5)


def _how_many(total: int) -> str:
    return "no targets" if not total else "1 target" if total == 1 else f"{total} targets"


def _show_progress(client: Client, run: str, live: "Live", done: threading.Event) -> None:
    from rich.text import Text

    while not done.wait(0.5):
        try:
            row = client.get(at("runs", run))
        except (ServerRefused, ServerUnreachable):
            continue  # who follows the output says it
        counts = row["targets"]
        ended = sum(count for state, count in counts.items() if state not in ("total", "running", "pending"))
        told = f"{ended}/{counts['total']} targets" if len(counts) > 1 else _how_many(counts["total"])
        live.update(Text(f"{row['state']}  {told}", style="dim"))


def _followed(run: str, **only: str | None) -> str:
    """Where the output of a run is followed, or of it only what is of this target, step or stream."""
    return at("runs", run, "output") + "?" + urlencode({"follow": "true"} | {k: v for k, v in only.items() if v is not None})


def _print_output(events: Iterable[tuple[str, str | None, Any]], printer: "_Printer", *, as_json: bool = False) -> None:
    try:
        for event, _, item in events:
            if event == "output" and as_json:
                Renderer("json").many([item], [])
                sys.stdout.flush()
            elif event == "output":
                printer.take(item)
            elif event == "end":
                break
    finally:  # also what came before it was given up
        printer.finish()


class _Printer:
    """Prints whole lines, each behind its target's name, so that targets do not mix within a line."""

    def __init__(self, console: "Console | None", raw: bool) -> None:
        self._console, self._raw = console, raw
        self._rest: dict[tuple[str, str, str], str] = {}

    def take(self, item: dict[str, Any]) -> None:
        """Print the lines that `item` completes."""
        key = (item["target"], item["step"], item["stream"])
        *lines, rest = (self._rest.get(key, "") + item["text"]).split("\n")
        self._rest[key] = rest
        for line in lines:
            self._print(key, line)

    def finish(self) -> None:
        """Print lines that never got their end."""
        for key, rest in self._rest.items():
            if rest:
                self._print(key, rest)

    def _print(self, key: tuple[str, str, str], line: str) -> None:
        target, _, stream = key
        mark = "!" if stream == "stderr" else "|"
        shown = f"{target} {mark} {line if self._raw else harmless(line)}"
        if self._console:
            from rich.text import Text

            self._console.print(Text.from_ansi(shown))
        else:
            sys.stdout.write(shown + "\n")
            sys.stdout.flush()


@app.command("list")
def list_runs(job: str | None = None, state: str | None = None, limit: Limit = 50, output: Output = "table") -> None:
    """List runs, newest first."""
    show_list("/runs", COLUMNS, output, limit, job=job, state=state)


@app.command()
def show(run: str, output: Output = "table") -> None:
    """Show one run."""
    show_one(at("runs", run), output)


@app.command()
def steps(run: str, output: Output = "table") -> None:
    """Show what each step came to on each target."""
    columns = ["target", "step", "attempt", "state", "exit_code", "started_at", "finished_at", "error.message"]
    show_list(at("runs", run, "steps"), columns, output, None)


@app.command()
def cancel(run: str, reason: str = "", output: Output = "table") -> None:
    """End a run early; its remote processes are killed."""
    write(lambda client: client.send("POST", at("runs", run, "cancel"), {"reason": reason}), output)


@app.command("output")
def show_output(
    run: str,
    target: str | None = None,
    step: str | None = None,
    stream: str | None = None,
    follow: Annotated[bool, typer.Option("--follow", help="Stay until the run ends.")] = False,
    raw: RawText = False,
    output: Output = "table",
) -> None:  # fmt: skip
    """Show what steps wrote."""
    with exiting():
        client = CONTEXT.client()
        query: dict[str, Any] = {"target": target, "step": step, "stream": stream}
        if follow:
            following = Following(client, run, Renderer(output).note, known=False)
            with following.told():
                events = following.output(_followed(run, **query), {})
                _print_output(events, _Printer(None, raw), as_json=output == "json")
            return
        items = client.items(at("runs", run, "output"), **query)
        if output == "json":
            Renderer("json").many(items, [])
            return
        for item in items:
            keep = raw or not sys.stdout.isatty()
            sys.stdout.write(item["text"] if keep else "\n".join(map(harmless, item["text"].split("\n"))))
            sys.stdout.flush()
