"""`coldproof cloud person`: who may sign in. Passwords are generated, printed once and kept nowhere."""

from __future__ import annotations

from typing import Annotated

import typer

from cloud.app import open_clock
from cloud.auth import people
from cloud.db.engine import reading, writing
from coldproof.cloud_options import ConfigOption, DataOption, database, settings_of, time_text
from coldproof.outcome import printable, told

app = typer.Typer(no_args_is_help=True, help="People who may sign in.")


@app.command()
def add(
    login: str,
    role: Annotated[str, typer.Option(help="operator (packs, submits) or official (approves, returns).")],
    name: Annotated[str | None, typer.Option(help="The person's name, as pages show it.")] = None,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Add a person with a generated password, which is printed once and kept nowhere."""
    with told():
        settings = settings_of(config, data_dir)
        password = people.new_password()
        now = open_clock(settings)
        with database(settings) as engine, writing(engine) as conn:
            added = people.add_person(conn, login, name or login, role, password, now())
        typer.echo(f"login: {added.login}\npassword: {password}")


@app.command()
def passwd(login: str, config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Give a person a new password, printed once; wherever they are signed in, that ends at once."""
    with told():
        password = people.new_password()
        with database(settings_of(config, data_dir)) as engine, writing(engine) as conn:
            people.change_password(conn, login, password)
        typer.echo(f"login: {login}\npassword: {password}")


@app.command()
def remove(login: str, config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Let a person sign in no more, at once. What they decided stays theirs, and nobody else gets their login."""
    with told():
        settings = settings_of(config, data_dir)
        now = open_clock(settings)
        with database(settings) as engine, writing(engine) as conn:
            people.remove_person(conn, login, now())
        typer.echo(f"removed: {login}")


@app.command("list")
def list_command(config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Print everybody who has or had a login, one per line."""
    with told(), database(settings_of(config, data_dir)) as engine, reading(engine) as conn:
        for one in people.listed(conn):
            state = "may sign in" if one.removed_ms is None else f"removed {time_text(one.removed_ms)}"
            typer.echo("\t".join([one.login, one.role, printable(one.name), f"added {time_text(one.added_ms)}", state]))
