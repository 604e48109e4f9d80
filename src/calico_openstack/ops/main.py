"""The operator's command: `calico-openstack VERB ...`.

Knows only the names of the verbs and where each lives. A verb's module is imported when it is called, so that the
command starts at once and a compute host needs nothing that only the sandbox needs.
"""

import importlib
from typing import Final

import click

# verb -> (module, attribute, one line for --help, extra that brings what it imports)
VERBS: Final[dict[str, tuple[str, str, str, str]]] = {
    "explain": (
        "calico_openstack.ops.explain",
        "command",
        "May A open a flow to B? By which policy and rule.",
        "host",
    ),
    "felix": (
        "calico_openstack.ops.felix",
        "command",
        "What the Felix of this host knows; take out of the kernel what it made.",
        "host",
    ),
    "plan": (
        "calico_openstack.ops.plan",
        "command",
        "What Felix would change on this host now, and why.",
        "host",
    ),
    "sandbox": (
        "calico_openstack.sandbox.commands",
        "sandbox",
        "A whole cloud on this machine, in network namespaces.",
        "sandbox",
    ),
}


class Verbs(click.Group):
    """A group that imports a verb when it is used; --help needs no import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, attribute, _, extra = VERBS[cmd_name]
        try:
            command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"{cmd_name!r} needs {error.name}, which is not installed; install it with: "
                f"pip install 'calico-openstack[{extra}]'"
            ) from error
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, VERBS[verb][2]) for verb in sorted(VERBS)])


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="calico-openstack", prog_name="calico-openstack")
def main() -> None:
    """Calico for OpenStack: the operator's command."""
