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
from infra.cli import session as kept
from infra.cli.client import Client, is_in_the_clear
from infra.cli.context import CONTEXT, exiting
from infra.cli.provider_login import granted

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


@app.callback()
def options(url: Annotated[str | None, typer.Option(envvar="OPSCONDUCTOR_URL", help="The server.")] = None) -> None:
    """Choose the server for every command."""
    CONTEXT.url = url


@app.command()
def login(
    user: Annotated[str | None, typer.Option(help="Who signs in; asked for when it is not said.")] = None,
    password_file: Annotated[typer.FileText | None, typer.Option(help="Holds the password; - is standard input.")] = None,
    sso: Annotated[bool, typer.Option("--sso", help="Sign in with the identity provider, in the browser.")] = False,
    browser: Annotated[bool, typer.Option(help="With --sso: open the browser, or only print where to go.")] = True,
) -> None:
    """Sign in and keep the session for further commands."""
    if sso:
        _login_with_provider(browser)
        return
    if user is None:
        user = typer.prompt("User", default="admin", err=True)
    password = password_file.read().rstrip("\n") if password_file else typer.prompt("Password", hide_input=True, err=True)
    with exiting():
        session = kept.load(CONTEXT.url)
        if is_in_the_clear(session.url):
            sys.stderr.write(f"warning: {session.url} is no https: whoever is between can read the password\n")
        Client(session).login(user, password)
    sys.stderr.write(f"signed in to {session.url} as {user}\n")


def _login_with_provider(browser: bool) -> None:
    session = kept.load(CONTEXT.url)
    with exiting():
        client = Client(session)
        client.login_with_grant(*granted(session.url, browser))
        name = client.get("/me")["name"]
    sys.stderr.write(f"signed in to {session.url} as {name}\n")


@app.command()
def logout() -> None:
    """Sign out: the session ends on the server and is forgotten here."""
    session = kept.load(CONTEXT.url)
    with exiting():
        Client(session).logout()
    sys.stderr.write(f"signed out of {session.url}\n")


@app.command(hidden=True)
def reference(folder: Annotated[Path, typer.Option(help="The top of the repository.")] = Path(".")) -> None:
    """Generate docs/reference and schemas/published anew from the tables in code."""
    from infra.cli.reference import write_reference  # it knows the whole house

    for changed in write_reference(folder, app):
        sys.stdout.write(f"{changed}\n")


def main() -> None:
    """Run the command line."""
    app()
