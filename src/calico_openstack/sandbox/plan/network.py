"""The wires: namespaces, the management bridge and the fabric.

A veth is made with both ends already in their namespaces, so nothing ever appears on the machine's own network.
Addresses are added without duplicate detection: we gave them out ourselves, and a daemon could not bind to a
tentative one.
"""

from calico_openstack.sandbox import layout as at
from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.spec import Spec
from calico_openstack.sandbox.steps import Run, Stage, Step


def _sysctl(namespace: str, **settings: int) -> Run:
    return Run(("sysctl", "-qw", *(f"{key}={value}" for key, value in settings.items())), namespace)


def _ip(namespace: str, line: str) -> Run:
    return Run(("ip", "-n", namespace, *line.split()))


def make_namespace(namespace: str) -> list[Step]:
    return [
        Run(("ip", "netns", "add", namespace)),
        _ip(namespace, "link set lo up"),
    ]


def _uplink(namespace: str, device: str, switch: str, port: str, addresses: tuple[str, ...]) -> list[Step]:
    """A cable from `device` in a namespace to `port` on the bridge called like the port's switch."""
    bridge = "mgmt" if device == "mgmt" else "fabric"
    steps: list[Step] = [
        Run(("ip", "link", "add", device, "netns", namespace, "type", "veth", "peer", "name", port, "netns", switch)),
        _ip(switch, f"link set {port} master {bridge} up"),
    ]
    steps += [
        _ip(namespace, f"addr add {address} dev {device} {'nodad' if ':' in address else ''}") for address in addresses
    ]
    steps.append(_ip(namespace, f"link set {device} up"))
    return steps


def controller_stage(layout: Layout) -> Stage:
    controller = layout.namespace("ctl")
    return Stage(
        "controller namespace",
        (
            *make_namespace(controller),
            _ip(controller, "link add mgmt type bridge"),
            _ip(controller, f"addr add {at.CONTROLLER}/24 dev mgmt"),
            _ip(controller, "link set mgmt up"),
        ),
    )


def fabric_stage(layout: Layout) -> Stage:
    """The fabric: one bridge, which has the router's addresses, because switch and router share the namespace."""
    fabric = layout.namespace("fabric")
    return Stage(
        "fabric",
        (
            *make_namespace(fabric),
            _sysctl(fabric, **{"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1}),
            _ip(fabric, "link add fabric type bridge"),
            _ip(fabric, f"addr add {at.FABRIC_ROUTER_V4}/24 dev fabric"),
            _ip(fabric, f"addr add {at.FABRIC_ROUTER_V6}/64 dev fabric nodad"),
            _ip(fabric, "link set fabric up"),
        ),
    )


def host_stage(layout: Layout, host: str) -> Stage:
    """A host has two cables and no default route: what it can reach it must have learnt.

    Reverse path filtering is strict, as hardened distributions set it; forwarding stays off, since that is Felix's job.
    """
    namespace = layout.namespace(host)
    strict = {f"net.ipv4.conf.{which}.rp_filter": 1 for which in ("all", "default")}
    return Stage(
        f"{host} namespace",
        (
            *make_namespace(namespace),
            _sysctl(namespace, **strict, **{"net.ipv4.ip_forward": 0}),
            *_uplink(namespace, "mgmt", layout.namespace("ctl"), host, (f"{at.management_address(host)}/24",)),
            *_uplink(
                namespace,
                "eth0",
                layout.namespace("fabric"),
                host,
                (f"{at.fabric_v4(host)}/24", f"{at.fabric_v6(host)}/64"),
            ),
        ),
        needs=("controller namespace", "fabric"),
    )


def network_stages(spec: Spec, layout: Layout) -> list[Stage]:
    return [controller_stage(layout), fabric_stage(layout), *(host_stage(layout, host) for host in spec.host_names)]
