"""The tenants' part: networks, groups, guests; and the script by which a guest's DHCP client tells what it got."""

from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.spec import Spec
from calico_openstack.sandbox.steps import Boot, Directory, MakeGroups, MakeNetwork, Run, Stage, WaitForAgents, Write

# udhcpc calls it with bound/renew/deconfig/..., dhclient -6 with BOUND6/REBIND6/EXPIRE6/... in $reason.
# It never touches resolv.conf: a guest is a network namespace, its /etc is the machine's.
CLIENT_SCRIPT = r"""#!/bin/sh
# Called by udhcpc (IPv4) and dhclient -6 (IPv6) inside a guest of the sandbox. Writes what it did to $LEASES/v4,
# $LEASES/v6.
note() { cut -d' ' -f1 /proc/uptime | { read -r up; echo "$up $*" >> "$LEASES/$family"; }; }
if [ -z "$reason" ]; then
    family=v4
    case "$1" in
    deconfig) ip -4 addr flush dev "$interface"; ip link set "$interface" up ;;
    bound | renew)
        ip -4 addr replace "$ip/$mask" valid_lft "$lease" preferred_lft "$lease" dev "$interface"
        [ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
        if [ -n "$staticroutes" ]; then
            set -- "$1" $staticroutes
            event=$1; shift
            while [ $# -ge 2 ]; do
                case "$2" in
                0.0.0.0) ip -4 route replace "$1" dev "$interface" ;;
                *) ip -4 route replace "$1" via "$2" dev "$interface" onlink ;;
                esac
                shift 2
            done
            set -- "$event"
        else
            for gateway in $router; do ip -4 route replace default via "$gateway" dev "$interface" onlink; done
        fi
        ;;
    esac
    note "$1 ip=$ip/$mask router=$router lease=$lease dns=$dns mtu=$mtu routes=$staticroutes"
else
    family=v6
    case "$reason" in
    BOUND6 | REBIND6 | RENEW6)
        ip -6 addr replace "$new_ip6_address/128" dev "$interface" \
            valid_lft "$new_max_life" preferred_lft "$new_preferred_life" ;;
    EXPIRE6 | RELEASE6 | STOP6)
        ip -6 addr del "$old_ip6_address/128" dev "$interface" 2>/dev/null ;;
    esac
    note "$reason ip=$new_ip6_address/$new_ip6_prefixlen life=$new_max_life dns=$new_dhcp6_name_servers"
fi
exit 0
"""


def clients_stage(layout: Layout) -> Stage:
    return Stage(
        "guest DHCP clients",
        (
            Directory(layout.cache, 0o755),
            Write(layout.guest_script, CLIENT_SCRIPT, 0o755),
            Run(("install", "-m", "755", "/usr/sbin/dhclient", str(layout.dhclient))),
        ),
    )


def guest_stages(spec: Spec) -> list[Stage]:
    stages = [
        Stage(
            "agents alive",
            (WaitForAgents(spec.host_names),),
            needs=("Neutron API", *(f"{host} agents" for host in spec.host_names)),
        ),
        Stage(
            "networks and groups",
            (*(MakeNetwork(network) for network in spec.networks), MakeGroups(spec.groups)),
            needs=("Neutron API", *(("Keystone",) if spec.mode == "full" else ())),
        ),
    ]
    if spec.guests:
        needs = ("agents alive", "networks and groups", "guest DHCP clients", "fabric router", "BGP peers")
        stages.append(Stage(f"guests ({len(spec.guests)})", (Boot(spec.guests),), needs))
    return stages
