"""Running other people's tools against a sandbox: the environment they need, and where to enter."""

import os
import shutil
import sys
from pathlib import Path

from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.plan.programs import program
from calico_openstack.sandbox.spec import Spec
from calico_openstack.sandbox.state import State

CONFIG_FILE = "CALICO_CONFIG_FILE"
"""The environment variable in which `calico-openstack explain` and `plan` look for a settings file."""
FELIX_SOCKET = "CALICO_FELIX_SOCKET"
"""The one in which `calico-openstack felix show` looks for Felix's socket."""


def openstack_environment(spec: Spec, state: State) -> dict[str, str]:
    """The variables by which the openstack client reaches this sandbox."""
    quiet = {"PYTHONWARNINGS": "ignore"}
    if spec.mode == "light":
        return quiet | {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": state.layout.neutron_url}
    return quiet | {
        "OS_AUTH_URL": state.layout.keystone_url,
        "OS_USERNAME": "admin",
        "OS_PASSWORD": state.secrets().keystone_admin,
        "OS_PROJECT_NAME": "admin",
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_IDENTITY_API_VERSION": "3",
        "OS_REGION_NAME": "RegionOne",
    }


def place_environment(spec: Spec, state: State, place: str) -> dict[str, str]:
    """What tools find in a place.

    `calico-openstack` is found and knows which etcd and Felix are meant; the controller has logins for etcdctl and
    openstack.
    """
    # Last in the path: what a place runs otherwise stays the machine's.
    found = {"PATH": f"{os.environ.get('PATH', os.defpath)}:{Path(sys.prefix) / 'bin'}"}
    if place in spec.host_names:
        directory = state.layout.place(place)
        return found | {CONFIG_FILE: str(directory / "felix.cfg"), FELIX_SOCKET: str(directory / "felix.sock")}
    if place != "ctl":
        return found
    return (
        openstack_environment(spec, state)
        | found
        | {
            CONFIG_FILE: str(state.layout.place(place) / "neutron" / "neutron.conf"),
            "ETCDCTL_API": "3",
            "ETCDCTL_ENDPOINTS": state.layout.etcd_url,
            "ETCDCTL_USER": f"root:{state.secrets().etcd_root}",
        }
    )


def enter_command(layout: Layout, namespace: str, place: str, command: tuple[str, ...]) -> list[str]:
    """The command line that runs `command` in a place. `birdc` is told which BIRD is meant."""
    socket = layout.place(place) / "bird" / "bird.ctl"
    if command[0] == "birdc" and "-s" not in command and socket.exists():
        command = ("birdc", "-s", str(socket), *command[1:])
    return ["ip", "netns", "exec", namespace, *command]


def shell_settings(layout: Layout, place: str) -> str:
    """What bash reads first in a place: a prompt that says where one is, and a birdc that finds its BIRD."""
    lines = [f"PS1='[{layout.name}:{place}] # '"]
    socket = layout.place(place) / "bird" / "bird.ctl"
    if socket.exists():
        lines.append(f'birdc() {{ command birdc -s {socket} "$@"; }}')
    return "\n".join(lines) + "\n"


def own_command() -> str:
    """What to type here to call `calico-openstack`."""
    ours = program("calico-openstack")
    if (found := shutil.which("calico-openstack")) and os.path.realpath(found) == os.path.realpath(ours):
        return "calico-openstack"
    return os.path.relpath(ours) if Path(ours).is_relative_to(Path.cwd()) else ours


def next_commands(name: str, guest: str | None = None) -> str:
    """What a newcomer may want to try on a sandbox that is up."""
    which = "" if name == "calico" else f" --name {name}"
    some = guest or "g9"
    verbs = [
        (f"status{which}", "what runs, what it says, how much memory it takes"),
        (f"boot{which} g9 --host h1", "boot a guest and see how long each part takes"),
        (f"exec{which} {some} ping -c3 198.51.100.1", "run a command in a guest or on a host"),
        (f"openstack{which} port list", "the real OpenStack client, as administrator"),
        (f"exec{which} h1 calico-openstack plan", "what Felix would change on h1 now"),
        (f"shell{which} h1", "look around: nft list ruleset, ip route, birdc show route"),
        (f"logs{which} h1/felix", "what Felix on h1 says"),
        (f"down{which}", "take everything away"),
    ]
    width = max(len(verb) for verb, _ in verbs) + 2
    own = own_command()
    return "Try next:\n" + "\n".join(f"  {own} sandbox {verb:<{width}}# {what}" for verb, what in verbs)
