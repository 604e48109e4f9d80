"""Running other people's tools against a sandbox: the environment they need, and where to enter."""

from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.spec import Spec
from calico_openstack.sandbox.state import State


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
    """What tools find in a place: the controller has logins for etcdctl and openstack."""
    if place != "ctl":
        return {}
    return openstack_environment(spec, state) | {
        "ETCDCTL_API": "3",
        "ETCDCTL_ENDPOINTS": state.layout.etcd_url,
        "ETCDCTL_USER": f"root:{state.secrets().etcd_root}",
    }


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


def next_commands(name: str, guest: str | None = None) -> str:
    """What a newcomer may want to try on a sandbox that is up."""
    which = "" if name == "calico" else f" --name {name}"
    some = guest or "g9"
    verbs = [
        (f"status{which}", "what runs, what it says, how much memory it takes"),
        (f"boot{which} g9 --host h1", "boot a guest and see how long each part takes"),
        (f"exec{which} {some} ping -c3 198.51.100.1", "run a command in a guest or on a host"),
        (f"openstack{which} port list", "the real OpenStack client, as administrator"),
        (f"shell{which} h1", "look around: nft list ruleset, ip route, birdc show route"),
        (f"logs{which} h1/felix", "what Felix on h1 says"),
        (f"down{which}", "take everything away"),
    ]
    width = max(len(verb) for verb, _ in verbs) + 2
    return "Try next:\n" + "\n".join(f"  calico-openstack sandbox {verb:<{width}}# {what}" for verb, what in verbs)
