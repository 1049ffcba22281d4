"""The command `opsconductor`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from infra.cli import (
    access,
    audit,
    backup,
    credentials,
    jobs,
    keys,
    projections,
    roles,
    runs,
    sessions,
    targets,
    topics,
    users,
    vault,
)
from infra.cli.asked import at_terminal, hidden
from infra.cli.client import Client, is_in_the_clear
from infra.cli.context import CONTEXT, Output, all_written, exiting
from infra.cli.provider_login import granted
from infra.cli.render import Renderer
from infra.wiring.version import VERSION

app = typer.Typer(
    no_args_is_help=True,
    help="Runs operations jobs on fleets of machines; the event log is the audit trail.",
    pretty_exceptions_enable=False,  # a traceback that prints local variables would print secrets
)
app.add_typer(targets.app, name="target")
app.add_typer(credentials.app, name="credential")
app.add_typer(jobs.app, name="job")
app.add_typer(runs.app, name="run")
app.add_typer(users.app, name="user")
app.add_typer(users.tokens, name="token")
app.add_typer(sessions.app, name="session")
app.add_typer(access.app, name="role")
app.add_typer(access.permissions, name="permissions")
app.add_typer(projections.app, name="projections")
app.add_typer(topics.app, name="topics")
app.add_typer(vault.app, name="vault")
app.add_typer(keys.app, name="keys")
app.command()(audit.audit)
roles.register(app)
backup.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"opsconductor {VERSION}\n")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(envvar="OPSCONDUCTOR_URL", help="The server.")] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show which version this is.")
    ] = False,
) -> None:
    """Choose the server for every command."""
    source = context.get_parameter_source("url")
    CONTEXT.url, CONTEXT.by_argument = url, source is not None and source.name == "COMMANDLINE"


@app.command()
def login(
    user: Annotated[str | None, typer.Option(help="Who signs in; asked for when it is not said.")] = None,
    password_file: users.PasswordFile = None,
    sso: Annotated[bool, typer.Option("--sso", help="Sign in with the identity provider, in the browser.")] = False,
    browser: Annotated[bool, typer.Option(help="With --sso: open the browser, or only print where to go.")] = True,
    output: Output = "table",
) -> None:
    """Sign in and keep the session for further commands."""
    if sso and (user is not None or password_file is not None):
        raise typer.BadParameter("who signs in with the provider is asked there", param_hint="--sso")
    with exiting():
        session = CONTEXT.session()
        client = Client(session)
        if sso:
            client.login_with_grant(*granted(session.url, browser))
            user = str(client.get("/me")["name"])
        else:
            user = _login(client, session.url, user, password_file)
    _done(f"signed in to {session.url} as {user}", {"url": session.url, "user": user}, output)


def _login(client: Client, url: str, user: str | None, password_file: Path | None) -> str:
    """Sign in with a password; who did."""
    if password_file is None:
        at_terminal("password", instead="--password-file")
    if user is None:
        user = str(typer.prompt("User", default="admin", err=True))
    password = users.kept_password(password_file)
    if password is None:
        password = hidden("Password")
    if is_in_the_clear(url):
        sys.stderr.write(f"warning: {url} is no https: whoever is between can read the password\n")
    client.login(user, password)
    return user


@app.command()
def logout(output: Output = "table") -> None:
    """Sign out: the session ends on the server and is forgotten here."""
    with exiting():
        session = CONTEXT.session()
        Client(session).logout()
    _done(f"signed out of {session.url}", {"url": session.url}, output)


def _done(told: str, what: dict[str, str], output: str) -> None:
    """Say what was done: to people on standard error, as JSON on standard output."""
    renderer = Renderer(output)
    if renderer.form == "json":
        renderer.one(what)
    else:
        renderer.note(told)


@app.command(hidden=True)
def reference(folder: Annotated[Path, typer.Option(help="The top of the repository.")] = Path(".")) -> None:
    """Generate docs/reference and schemas/published anew from the tables in code."""
    from infra.cli.reference import write_reference  # it knows the whole house

    for changed in write_reference(folder, app):
        sys.stdout.write(f"{changed}\n")


def main() -> None:
    """Run the command line."""
    with all_written():
        app()
