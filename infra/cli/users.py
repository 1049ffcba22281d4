"""Commands for users and API tokens. Passwords are asked for or come from a file, never from the command line."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.cli.asked import hidden
from infra.cli.confirmed import Yes, confirmed
from infra.cli.context import CONTEXT, Output, at, exiting, show_list, show_one, write
from infra.cli.given import text
from infra.cli.render import Renderer
from infra.cli.targets import Limit

app = typer.Typer(no_args_is_help=True, help="Who may sign in, and in which roles.")
tokens = typer.Typer(no_args_is_help=True, help="API tokens: for programs that act for a user.")
COLUMNS = ["name", "title", "roles", "disabled", "service", "last_sign_in_at", "version"]
TOKEN_COLUMNS = ["token", "title", "permissions", "issued_at", "expires_at"]
Roles = Annotated[list[str] | None, typer.Option("--role", help="A role; may be given several times.")]
PasswordFile = Annotated[Path | None, typer.Option(help="Holds the password; - is standard input.")]


def kept_password(file: Path | None) -> str | None:
    """What stands in the file, without the line ends behind it; None without a file. Raises `BadFile`."""
    return text(file).rstrip("\r\n") if file is not None else None


def _password(file: Path | None) -> str:
    kept = kept_password(file)
    return kept if kept is not None else hidden("New password", instead="--password-file", twice=True)


@app.command("list")
def list_users(limit: Limit = None, output: Output = "table") -> None:
    """List users."""
    show_list("/users", COLUMNS, output, limit)


@app.command()
def show(name: str, output: Output = "table") -> None:
    """Show one user."""
    show_one(at("users", name), output)


@app.command()
def create(
    name: str,
    role: Roles = None,
    title: str = "",
    service: Annotated[bool, typer.Option("--service", help="A service account: no password, API tokens only.")] = False,
    password_file: PasswordFile = None,
    output: Output = "table",
) -> None:
    """Make a user; a password is asked for."""
    if service and password_file is not None:
        raise typer.BadParameter("a service account has no password", param_hint="--password-file")
    body: dict[str, Any] = {"name": name, "title": title, "roles": role or []}
    with exiting():
        client = CONTEXT.client()
        body |= {} if service else {"password": _password(password_file)}
        Renderer(output).one(client.send("POST", "/users", body))


@app.command()
def change(
    name: str,
    role: Roles = None,
    title: str | None = None,
    enable: Annotated[bool, typer.Option("--enable", help="A disabled user may sign in again.")] = False,
    output: Output = "table",
) -> None:
    """Change a user; the roles given are all the user then has."""
    body: dict[str, Any] = {"disabled": False} if enable else {}
    body |= {"roles": role} if role is not None else {}
    body |= {"title": title} if title is not None else {}
    write(lambda client: client.send("PATCH", at("users", name), body), output)


@app.command()
def disable(name: str, output: Output = "table") -> None:
    """Disable a user: sessions end, API tokens rest, the name stays taken."""
    write(lambda client: client.send("DELETE", at("users", name)), output)


@app.command()
def erase(name: str, yes: Yes = False, output: Output = "table") -> None:
    """End a user and destroy what says who it was, for good: title, password, API tokens. The name stays taken."""
    confirmed(yes, f"Erase user {name}? It can neither be undone nor enabled again.")
    write(lambda client: client.send("DELETE", at("users", name, "personal-data")), output)


@app.command()
def unlink(name: str, yes: Yes = False, output: Output = "table") -> None:
    """Take a user from the identity provider: roles, sessions and API tokens go. The name stays, and is not linked again."""
    confirmed(yes, f"Unlink user {name}? It loses all roles and API tokens, and cannot be linked again.")
    write(lambda client: client.send("DELETE", at("users", name, "identity")), output)


@app.command()
def password(name: str, password_file: PasswordFile = None, output: Output = "table") -> None:
    """Give a user, not yourself, another password; every session of theirs ends."""
    path = at("users", name, "password")
    write(lambda client: client.send("PUT", path, {"password": _password(password_file)}), output)


@app.command("own-password")
def own_password(output: Output = "table") -> None:
    """Change your own password; your other sessions end."""

    def body() -> dict[str, str]:
        return {"current_password": hidden("Current password"), "password": hidden("New password", twice=True)}

    write(lambda client: client.send("PUT", "/me/password", body()), output)


@tokens.command("list")
def list_tokens(user: str, output: Output = "table") -> None:
    """List a user's API tokens."""
    with exiting():
        Renderer(output).many(CONTEXT.client().get(at("users", user, "tokens"))["items"], TOKEN_COLUMNS)


@tokens.command()
def issue(
    user: str,
    expires_at: Annotated[datetime, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"], help="Until when, UTC.")],
    permission: Annotated[list[str] | None, typer.Option(help="What it may do; without any, all its owner may.")] = None,
    title: str = "",
    output: Output = "table",
) -> None:
    """Issue an API token; it is shown now and never again."""
    body = {"title": title, "expires_at": expires_at.isoformat() + "Z", "permissions": permission}
    write(lambda client: client.send("POST", at("users", user, "tokens"), body), output)


@tokens.command()
def revoke(user: str, token: str, output: Output = "table") -> None:
    """End an API token."""
    write(lambda client: client.send("DELETE", at("users", user, "tokens", token)), output)
