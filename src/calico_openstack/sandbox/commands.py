"""`calico-openstack sandbox ...`: the verbs, each a few lines on top of `Sandbox`."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from calico_openstack.sandbox.client import enter_command, next_commands, place_environment, shell_settings
from calico_openstack.sandbox.plan.programs import program
from calico_openstack.sandbox.progress import Shown, make_console
from calico_openstack.sandbox.report import guest_table, status_report
from calico_openstack.sandbox.sandbox import Sandbox
from calico_openstack.sandbox.spec import Guest, Spec, SpecError, spread
from calico_openstack.sandbox.spec_file import read_spec
from calico_openstack.sandbox.state import SandboxError, names, write_whole
from calico_openstack.sandbox.steps import describe


class Verb(click.Command):
    """A verb whose expected errors are one readable message; an interrupt or SIGTERM ends it in an orderly way."""

    def invoke(self, ctx: click.Context) -> Any:
        builds = self.name in ("up", "demo")

        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

        def interrupt(number: int, frame: object) -> None:
            if builds:
                for one in signals:  # a second one would leave stages at work behind the cleaning
                    signal.signal(one, signal.SIG_IGN)
                click.echo("interrupted; taking everything down ...", err=True)
            raise KeyboardInterrupt

        for one in signals:
            signal.signal(one, interrupt)
        try:
            return super().invoke(ctx)
        except (SandboxError, SpecError) as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            click.echo("everything that was built has been taken down" if builds else "interrupted", err=True)
            ctx.exit(130)


def need_root() -> None:
    if os.geteuid() != 0:
        raise SandboxError("network namespaces need root; run it with sudo")
    # A plain `su` keeps the user's PATH, in which bird, dnsmasq, mariadbd and sysctl are not found.
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


name_option = click.option("--name", default="calico", show_default=True, help="Which sandbox.")


@click.group()
def sandbox() -> None:
    """A whole cloud on this machine, in network namespaces.

    Neutron, Keystone, etcd, compute hosts with Calico's agents and BIRD, a fabric router, guests. Nothing listens
    outside the namespaces, and `down` leaves nothing behind.
    """


@sandbox.command(cls=Verb)
@name_option
@click.option("--hosts", type=int, help="Compute hosts (1 to 8).  [default: 2]")
@click.option("--guests", type=int, help="Guests g1, g2, ... dealt out to the hosts in turn.  [default: 0]")
@click.option("--light", is_flag=True, help="SQLite, one API process, no Keystone: quick, for small experiments.")
@click.option(
    "--spec",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML file with the whole cloud.",
)
@click.option("--dry-run", is_flag=True, help="Print every step, do nothing.")
def up(name: str, hosts: int | None, guests: int | None, light: bool, file: Path | None, dry_run: bool) -> None:
    """Build a sandbox."""
    if file is not None:
        if hosts is not None or guests is not None or light:
            raise SpecError("--spec", "the file says it all; leave --hosts, --guests and --light out")
        spec = read_spec(file.read_text())
    else:
        hosts = 2 if hosts is None else hosts
        spec = Spec(name=name, hosts=hosts, mode="light" if light else "full", guests=spread(guests or 0, hosts))
    wanted = Sandbox(spec)
    if dry_run:
        click.echo(describe(wanted.plan()), nl=False)
        return
    need_root()
    console = make_console()
    build(wanted, console)
    console.print(f"\nSandbox [bold]{spec.name}[/] is up.")
    if wanted.guests:
        console.print(guest_table(wanted))
    console.print(next_commands(spec.name, next((guest.name for guest in wanted.guests), None)))


def build(wanted: Sandbox, console: Console) -> None:
    """`up` with progress, and a word about left-overs that had to go first."""
    with Shown(console) as progress:
        for item in wanted.up(progress):
            console.print(f"  removed left-over {item}", style="dim")


@sandbox.command(cls=Verb)
@name_option
@click.option("--all", "everything", is_flag=True, help="Every sandbox of this machine.")
def down(name: str, everything: bool) -> None:
    """Take a sandbox away, whatever state it is in."""
    need_root()
    for one in names() if everything else [name]:
        there = Sandbox(Spec(name=one))
        known = there.state.exists
        there.down()
        click.echo(f"Sandbox {one} is gone." if known else f"There is no sandbox {one}.{_others()}")


def _others() -> str:
    """Which sandboxes there are instead."""
    found = names()
    return f" There is: {', '.join(found)}; use --name." if found else ""


@sandbox.command(cls=Verb)
@name_option
def status(name: str) -> None:
    """What runs, which agents and guests there are, and how much memory it takes."""
    need_root()
    opened = Sandbox.open(name)
    make_console().print(status_report(opened))


@sandbox.command(cls=Verb)
@name_option
@click.argument("guest")
@click.option("--host", required=True, help="Where, for example h1.")
@click.option("--network", default="net1", show_default=True)
@click.option("--group", "groups", multiple=True, help="A security group; may be repeated.  [default: default]")
def boot(name: str, guest: str, host: str, network: str, groups: tuple[str, ...]) -> None:
    """Boot a guest through Neutron's API as Nova would, and say how long each part took."""
    need_root()
    opened = Sandbox.open(name)
    opened.boot(Guest(guest, host, network, groups), ping=True)
    make_console().print(guest_table(opened, only=guest))


@sandbox.command(cls=Verb)
@name_option
@click.argument("guest")
@click.argument("host")
def migrate(name: str, guest: str, host: str) -> None:
    """Move a running guest to another host through Neutron's API as Nova would, and say how long each part took."""
    need_root()
    moved = Sandbox.open(name).migrate(guest, host)
    click.echo(
        f"Guest {guest} went from {moved.source} to {host}: ready there after {moved.active:.2f} s, "
        f"running there after {moved.running:.2f} s, all done after {moved.done:.2f} s."
    )


@sandbox.command(cls=Verb)
@name_option
@click.argument("guests", nargs=-1, required=True)
def delete(name: str, guests: tuple[str, ...]) -> None:
    """Delete guests with their ports."""
    need_root()
    opened = Sandbox.open(name)
    for guest in guests:
        opened.delete(guest)
        click.echo(f"Guest {guest} is gone.")


@sandbox.command(cls=Verb, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@name_option
@click.argument("place")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec(name: str, place: str, command: tuple[str, ...]) -> None:
    """Run a command in a guest, on a host (h1), the controller (ctl) or the fabric router (fabric)."""
    need_root()
    become(Sandbox.open(name), place, command)


@sandbox.command(cls=Verb)
@name_option
@click.argument("place")
def shell(name: str, place: str) -> None:
    """Open a shell in a guest, on a host (h1), the controller (ctl) or the fabric router (fabric)."""
    need_root()
    opened = Sandbox.open(name)
    rc = opened.layout.directory / "shells" / place
    opened.namespace(place)  # before anything is written for a place that there is not
    write_whole(rc, shell_settings(opened.layout, place))
    if sys.stdin.isatty():
        become(opened, place, ("bash", "--rcfile", str(rc), "-i"))
    # Commands from a pipe: with -i bash would complain of the terminal that it has not.
    os.environ["BASH_ENV"] = str(rc)
    become(opened, place, ("bash",))


def become(opened: Sandbox, place: str, command: tuple[str, ...]) -> None:
    """Replaces this process by the command, inside the place."""
    argv = enter_command(opened.layout, opened.namespace(place), place, command)
    os.environ.update(place_environment(opened.spec, opened.state, place))
    sys.stdout.flush()
    os.execvp(argv[0], argv)


@sandbox.command(cls=Verb, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@name_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def openstack(name: str, arguments: tuple[str, ...]) -> None:
    """Run the real openstack client as the cloud's administrator."""
    need_root()
    opened = Sandbox.open(name)
    become(opened, "ctl", (program("openstack"), *arguments))


@sandbox.command(cls=Verb)
@name_option
@click.argument("process", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on printing what is added.")
@click.option("-n", "--lines", default=50, show_default=True)
def logs(name: str, process: str | None, follow: bool, lines: int) -> None:
    """Show the log of a process such as h1/felix; without one, list the processes."""
    state = Sandbox(Spec(name=name)).state
    state.spec()
    if process is None:
        for record in state.records():
            click.echo(f"{record.process.name:<30} {record.start.log}")
        return
    log = state.record(process).start.log
    os.execvp("tail", ["tail", f"--lines={lines}", *(["--follow=name"] if follow else []), str(log)])


@sandbox.command(cls=Verb)
@name_option
@click.argument("process")
@click.option("--kill", is_flag=True, help="With SIGKILL, as a crash would.")
def stop(name: str, process: str, kill: bool) -> None:
    """Stop a process such as h1/felix or ctl/etcd, to see what goes on without it."""
    need_root()
    opened = Sandbox.open(name)
    if not opened.state.record(process).process.alive:
        click.echo(f"{process} is not running.")
        return
    opened.stop(process, signal.SIGKILL if kill else signal.SIGTERM)
    click.echo(f"{process} is stopped.")


@sandbox.command(cls=Verb)
@name_option
@click.argument("process")
def start(name: str, process: str) -> None:
    """Start a stopped process again, exactly as before."""
    need_root()
    opened = Sandbox.open(name)
    opened.start(process)
    click.echo(f"{process} is started.")


@sandbox.command("list", cls=Verb)
def list_sandboxes() -> None:
    """Which sandboxes there are."""
    for one in names():
        click.echo(one)


@sandbox.command(cls=Verb)
@click.option("--name", default="demo", show_default=True, help="Which sandbox.")
@click.option("--keep", is_flag=True, help="Leave the cloud running.")
@click.option("--hosts", default=2, show_default=True)
@click.option("--light", is_flag=True, help="SQLite, one API process, no Keystone.")
def demo(name: str, keep: bool, hosts: int, light: bool) -> None:
    """Build a cloud, show packets, policy and routes at work, and take it down."""
    need_root()
    from calico_openstack.sandbox.demo import run

    if not run(make_console(), name, hosts, "light" if light else "full", keep):
        raise SandboxError("not everything was as it should be; see the table above")
