"""What do the command line, the settings and the REST contract look like on paper? Pages made from the code itself."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from api.contract import openapi
from infra.cli.session import DEFAULT_URL
from infra.wiring.settings import Settings
from schemas.problems import TABLE as PROBLEMS

CLIENT_SETTINGS: Mapping[str, tuple[str, str]] = {
    "OPSCONDUCTOR_URL": (
        f"`{DEFAULT_URL}`",
        "The server, unless `--url` names it; without both, that of the session that is kept.",
    ),
    "OPSCONDUCTOR_TOKEN": ("", "An API token to act with instead of the session that is kept."),
    "OPSCONDUCTOR_CA_FILE": ("", "Whose certificates are believed, PEM; default: those that this machine trusts."),
}
_GENERATED = "<!-- Generated from the code by `make reference`; do not edit. -->"


def manual(app: typer.Typer) -> Mapping[str, str]:
    """Path → text of every page that the schemas cannot make."""
    return {
        "docs/reference/cli.md": _cli(app),
        "docs/reference/settings.md": _settings(),
        "docs/reference/problems.md": _problems(),
        "docs/reference/openapi.json": json.dumps(openapi(), indent=1, ensure_ascii=False, sort_keys=True) + "\n",
    }


def _page(title: str, *paragraphs: str) -> str:
    return "\n\n".join((f"# {title}", _GENERATED, *paragraphs)) + "\n"


def _cli(app: typer.Typer) -> str:
    sections = [_command(name, command) for name, command in _leaves("opsconductor", typer.main.get_command(app))]
    statuses = (
        "Exit status: 0 done (or the followed run succeeded), 1 failed, 2 wrong usage, 3 the run was cancelled, 4 it timed out, "
        "5 it was lost, 6 the server refused, 7 no answer or no result in time, 74 what was to be told could not be written, "
        "78 wrong configuration: a setting that cannot be meant, 130 ended with Ctrl-C: a run that was followed goes on.\n\n"
        "Lists are tables on a terminal, or records below each other where it is too narrow, and "
        "tab-separated lines in a pipe, without a line of headings except for `permissions`; "
        "`-o json` prints an item a line. "
        "It is there for every command but `demo` and those that stay: `up`, `cluster` and the roles log JSON lines. "
        "`opsconductor --install-completion` sets up the shell's completion, `opsconductor --version` says which version it is."
    )
    return _page("Command line", statuses, *sections)


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if not children or getattr(command, "invoke_without_command", False):
        yield name, command
    for child, inner in (children or {}).items():
        if not inner.hidden:
            yield from _leaves(f"{name} {child}", inner)


def _command(name: str, command: Any) -> str:
    usage, rows = [name], []
    for param in command.params:
        if param.param_type_name == "argument":
            usage.append(param.name.upper() if param.required else f"[{param.name.upper()}]")
        elif param.name not in ("help", "install_completion", "show_completion"):
            rows.append(f"| `{', '.join(param.opts)}` | {(param.help or '').replace('|', chr(92) + '|')} |")
    table = "\n".join(["| option | meaning |", "| --- | --- |", *rows]) if rows else ""
    text = (command.help or "").strip().split("\n\n")[0].replace("\n", " ")
    return "\n\n".join(part for part in (f"## `{' '.join(usage)}`", text, table) if part)


def _settings() -> str:
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        rows.append(f"| `OPSCONDUCTOR_{name.upper()}` | {default} | {field.description} |")
    of_client = ["| variable | default | meaning |", "| --- | --- | --- |"]
    of_client += [f"| `{name}` | {default} | {meaning} |" for name, (default, meaning) in CLIENT_SETTINGS.items()]
    return _page(
        "Settings",
        "Environment variables. Which adapters are used follows from URLs alone. A role that starts names those beginning "
        "`OPSCONDUCTOR_` that are none of these, as misspelt ones: they change nothing.",
        "\n".join(rows),
        "## Of the command line",
        "\n".join(of_client),
        "The session that `opsconductor login` keeps is in `$XDG_CONFIG_HOME/opsconductor/session.json` (`~/.config/…`).",
    )


def _problems() -> str:
    rows = ["| code | status | meaning |", "| --- | --- | --- |"]
    rows += [f"| `{code}` | {kind.status} | {kind.title} |" for code, kind in sorted(PROBLEMS.items())]
    return _page("Problems", "Every error answer is RFC 9457 problem details with one of these codes.", "\n".join(rows))
