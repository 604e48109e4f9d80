"""`calico-openstack sandbox ...`: the verbs, each a few lines on top of `Sandbox`."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from calico_openstack.sandbox.plan.programs import program
from calico_openstack.sandbox.progress import Shown
from calico_openstack.sandbox.report import guest_table, status_report
from calico_openstack.sandbox.sandbox import Sandbox
from calico_openstack.sandbox.spec import Guest, Spec, SpecError, spread
from calico_openstack.sandbox.spec_file import read_spec
from calico_openstack.sandbox.state import SandboxError, names
from calico_openstack.sandbox.steps import describe


class Verb(click.Command):
    """A verb whose expected errors are one readable message, and that an interrupt or SIGTERM ends in an orderly way."""

    def invoke(self, ctx: click.Context) -> Any:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        try:
            return super().invoke(ctx)
        except (SandboxError, SpecError) as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            click.echo("interrupted; everything that was built has been taken down", err=True)
            ctx.exit(130)


def _interrupt(number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def need_root() -> None:
    if os.geteuid() != 0:
        raise SandboxError("network namespaces need root; run it with sudo")


name_option = click.option("--name", default="calico", show_default=True, help="Which sandbox.")


@click.group()
def sandbox() -> None:
    """A whole cloud on this machine, in network namespaces.

    Neutron, Keystone, etcd, compute hosts with Calico's agents and BIRD, a fabric router, guests. Nothing listens outside the
    namespaces, and `down` leaves nothing behind.
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
    console = Console()
    build(wanted, console)
    console.print(f"\nSandbox [bold]{spec.name}[/] is up.")
    if wanted.guests:
        console.print(guest_table(wanted))
    console.print(next_commands(spec.name))


def build(wanted: Sandbox, console: Console) -> None:
    """`up` with progress, and a word about left-overs that had to go first."""
    with Shown(console) as progress:
        for item in wanted.up(progress):
            console.print(f"  removed left-over {item}", style="dim")


def next_commands(name: str) -> str:
    which = "" if name == "calico" else f" --name {name}"
    verbs = (
        (f"status{which}", "what runs, what it says, how much memory it takes"),
        (f"boot{which} g9 --host h1", "boot a guest"),
        (f"exec{which} g9 ping -c3 198.51.100.1", "run a command in a guest or on a host"),
        (f"openstack{which} network agent list", "the real OpenStack client"),
        (f"shell{which} h1", "look around: nft list ruleset, ip route, birdc"),
        (f"down{which}", "take everything away"),
    )
    lines = [f"  calico-openstack sandbox {verb:<44} {what}" for verb, what in verbs]
    return "Try next:\n" + "\n".join(lines)


@sandbox.command(cls=Verb)
@name_option
@click.option("--all", "everything", is_flag=True, help="Every sandbox of this machine.")
def down(name: str, everything: bool) -> None:
    """Take a sandbox away, whatever state it is in."""
    need_root()
    for one in names() if everything else [name]:
        Sandbox(Spec(name=one)).down()
        click.echo(f"Sandbox {one} is gone.")


@sandbox.command(cls=Verb)
@name_option
def status(name: str) -> None:
    """What runs, which agents and guests there are, and how much memory it takes."""
    need_root()
    opened = Sandbox.open(name)
    Console().print(status_report(opened))


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
    booted = opened.boot(Guest(guest, host, network, groups))
    opened.first_ping(booted)
    Console().print(guest_table(opened, only=guest))


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
    os.environ["PS1"] = f"[{name}:{place}] # "
    become(opened, place, ("bash", "--norc", "-i"))


def become(opened: Sandbox, place: str, command: tuple[str, ...]) -> None:
    """Replaces this process by the command, inside the place, with what its tools need to find their servers."""
    layout = opened.layout
    bird = layout.place(place) / "bird" / "bird.ctl"
    if bird.exists():
        os.environ["BIRD_SOCKET"] = str(bird)
        if command[0] == "birdc" and "-s" not in command:
            command = ("birdc", "-s", str(bird), *command[1:])
    if place == "ctl":
        secrets = opened.state.secrets()
        os.environ |= {
            "ETCDCTL_API": "3",
            "ETCDCTL_ENDPOINTS": layout.etcd_url,
            "ETCDCTL_USER": f"root:{secrets.etcd_root}",
        }
        os.environ |= openstack_environment(opened)
    sys.stdout.flush()
    os.execvp("ip", ["ip", "netns", "exec", opened.namespace(place), *command])


def openstack_environment(opened: Sandbox) -> dict[str, str]:
    """The variables by which the openstack client reaches this sandbox."""
    if opened.spec.mode == "light":
        return {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": opened.layout.neutron_url}
    return {
        "OS_AUTH_URL": opened.layout.keystone_url,
        "OS_USERNAME": "admin",
        "OS_PASSWORD": opened.state.secrets().keystone_admin,
        "OS_PROJECT_NAME": "admin",
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_IDENTITY_API_VERSION": "3",
        "OS_REGION_NAME": "RegionOne",
    }


@sandbox.command(cls=Verb, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@name_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def openstack(name: str, arguments: tuple[str, ...]) -> None:
    """Run the real openstack client as the cloud's administrator."""
    need_root()
    opened = Sandbox.open(name)
    os.environ["PYTHONWARNINGS"] = "ignore"
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
    Sandbox.open(name).stop(process, signal.SIGKILL if kill else signal.SIGTERM)


@sandbox.command(cls=Verb)
@name_option
@click.argument("process")
def start(name: str, process: str) -> None:
    """Start a stopped process again, exactly as before."""
    need_root()
    Sandbox.open(name).start(process)


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

    if not run(Console(), name, hosts, "light" if light else "full", keep):
        raise SandboxError("not everything was as it should be; see the table above")
