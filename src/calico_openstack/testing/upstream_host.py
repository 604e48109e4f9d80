"""A host on which the upstream Felix worked: what it leaves in the kernel, made with the real programs.

Between rules of the host's own, in the shape that upstream gives its chains (felix/rules), as far as they matter to the
guests of `guests.two_guests`: `two` hears from `one` only, both may send.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

from calico_openstack.felix.wanted.state import Changes, WantedMatch, WantedPolicy, WantedRule
from calico_openstack.model.endpoint import Nat
from calico_openstack.model.net import parse_net
from calico_openstack.testing.guests import ALL, GROUP, Guest, endpoint

HASH = "cali:AbCdEfGh12-_xyz0"
"""As upstream's comments are."""


def run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


FOREIGN = {
    "filter": """
-N MINE
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -i docker0 -j MINE
-A MINE -s 192.0.2.0/24 -m comment --comment "ours; not cali: at all" -j RETURN
-N calico-dhcp
-A INPUT -i eth9 -j calico-dhcp
""",
    "nat": ":PREROUTING ACCEPT\n-A POSTROUTING -s 172.17.0.0/16 -o eth9 -j MASQUERADE\n",
    "mangle": ":PREROUTING ACCEPT\n-A POSTROUTING -p udp -m udp --dport 68 -j MARK --set-xmark 0x7/0x7\n",
    "raw": "-A PREROUTING -i eth9 -p udp -m udp --dport 9999 -j DROP\n",
}


def upstream_rules(taps: tuple[str, ...], sets: bool) -> dict[str, str]:
    """Its chains per table, in the form of iptables-restore, as felix/rules renders them for these taps."""
    dispatch = "".join(
        f"-N cali-tw-{tap}\n-N cali-fw-{tap}\n"
        f"-A cali-tw-{tap} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
        f"-A cali-tw-{tap} -j MARK --set-xmark 0x0/0x30000\n"
        f"-A cali-tw-{tap} -j cali-pi-default\n"
        f"-A cali-tw-{tap} -m mark --mark 0x10000/0x10000 -j RETURN\n"
        f"-A cali-tw-{tap} -j DROP\n"
        f"-A cali-fw-{tap} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
        f"-A cali-fw-{tap} -j MARK --set-xmark 0x10000/0x10000\n"
        f"-A cali-from-wl-dispatch -i {tap} -g cali-fw-{tap}\n"
        f"-A cali-to-wl-dispatch -o {tap} -g cali-tw-{tap}\n"
        for tap in taps
    )
    match = "-m set --match-set cali40s:xyz src " if sets else "-s 10.65.0.1/32 "
    return {
        "filter": f"""
-N cali-FORWARD
-N cali-INPUT
-N cali-wl-to-host
-N cali-from-wl-dispatch
-N cali-to-wl-dispatch
-N cali-pi-default
-N felix-FORWARD
-I FORWARD -m comment --comment "{HASH}" -j cali-FORWARD
-I INPUT -m comment --comment "{HASH}" -j cali-INPUT
-A FORWARD -m comment --comment "{HASH}" -m comment --comment "Accepted." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A FORWARD -m comment --comment "{HASH}" -j MARK --set-xmark 0x10000/0x10000
-A FORWARD -j felix-FORWARD
-A cali-FORWARD -m comment --comment "{HASH}" -i tap+ -j cali-from-wl-dispatch
-A cali-FORWARD -o tap+ -j cali-to-wl-dispatch
-A cali-INPUT -i tap+ -g cali-wl-to-host
-A cali-wl-to-host -p udp -m udp --sport 68 --dport 67 -j ACCEPT
-A cali-wl-to-host -j DROP
-A cali-pi-default {match}-m comment --comment "{HASH}" -j MARK --set-xmark 0x10000/0x10000
{dispatch}-A cali-from-wl-dispatch -m comment --comment "Unknown interface" -j DROP
-A cali-to-wl-dispatch -m comment --comment "Unknown interface" -j DROP
""",
        "nat": f"""
-N cali-PREROUTING
-N cali-fip-dnat
-I PREROUTING -m comment --comment "{HASH}" -j cali-PREROUTING
-A cali-PREROUTING -j cali-fip-dnat
-A cali-PREROUTING -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 127.0.0.1:8775
""",
        "mangle": f"""
-N cali-PREROUTING
-I PREROUTING -m comment --comment "{HASH}" -j cali-PREROUTING
-A cali-PREROUTING -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
""",
        "raw": f"""
-N cali-PREROUTING
-I PREROUTING -m comment --comment "{HASH}" -j cali-PREROUTING
-A cali-PREROUTING -j MARK --set-xmark 0x0/0xf0000
-A cali-PREROUTING -i tap+ -j MARK --set-xmark 0x40000/0x40000
""",
    }


def load(program: str, tables: dict[str, str], version: int = 4) -> None:
    def fit(rules: str) -> str:
        """The same for IPv6, without what only IPv4 has."""
        if version == 4:
            return rules
        rules = rules.replace("-p udp -m udp --sport 68 --dport 67", "-p ipv6-icmp")
        kept = [line for line in rules.splitlines() if not re.search(r"DNAT|172\.|192\.", line)]
        return "\n".join(kept).replace("10.65.0.1/32", "2001:db8::1/128").replace("cali40", "cali60") + "\n"

    text = "".join(f"*{table}\n{fit(rules).strip()}\nCOMMIT\n" for table, rules in tables.items())
    run(f"{program}-restore", "--noflush", text=text)


def saved(program: str) -> str:
    """What is there, without times and counters."""
    shown = run(f"{program}-save")
    lines = [re.sub(r"\[\d+:\d+\]", "[]", line) for line in shown.splitlines() if not line.startswith("#")]
    return "\n".join(lines)


PROGRAMS = ["iptables-nft", "iptables-legacy"]


def build(program: str, sets: bool = True) -> Callable[[], tuple[str, str]]:
    """The host's own rules, and upstream's ipsets; how to ask for what is there now, in both families."""
    six = program.replace("iptables", "ip6tables")
    if sets:
        run("ipset", "create", "cali40s:xyz", "hash:net", "family", "inet")
        run("ipset", "create", "cali60s:xyz", "hash:net", "family", "inet6")
        run("ipset", "add", "cali40s:xyz", "10.65.0.1/32")
        run("ipset", "add", "cali60s:xyz", "2001:db8::1/128")
        run("ipset", "create", "felix-masq-ipam-pools", "hash:net")
        run("ipset", "create", "mine", "hash:ip")
    for name, version in ((program, 4), (six, 6)):
        load(name, FOREIGN, version)
    return lambda: (saved(program), saved(six))


def add_upstream(program: str, taps: tuple[str, ...], sets: bool = True) -> None:
    load(program, upstream_rules(taps, sets))
    load(program.replace("iptables", "ip6tables"), upstream_rules(taps, sets), 6)


def add_upstream_tables(taps: tuple[str, ...]) -> None:
    """What upstream makes in its mode for nftables: tables of its own, maps from interfaces to chains."""
    for family, source in (("ip", "ip saddr 10.65.0.1"), ("ip6", "ip6 saddr 2001:db8::1")):
        chains = "".join(
            f"chain filter-cali-tw-{tap} {{ ct state established,related accept; {source} accept; drop; }}\n"
            f"chain filter-cali-fw-{tap} {{ ct state established,related accept; meta mark set 0x10000; }}\n"
            for tap in taps
        )
        listed = {way: ", ".join(f'"{tap}" : goto filter-cali-{way}-{tap}' for tap in taps) for way in ("tw", "fw")}
        text = f"""
        table {family} calico {{
            {chains}
            map cali-from-wl-dispatch {{ type ifname : verdict; elements = {{ {listed["fw"]} }} }}
            map cali-to-wl-dispatch {{ type ifname : verdict; elements = {{ {listed["tw"]} }} }}
            chain filter-cali-from-wl-dispatch {{ iifname vmap @cali-from-wl-dispatch; drop; }}
            chain filter-cali-to-wl-dispatch {{ oifname vmap @cali-to-wl-dispatch; drop; }}
            chain filter-cali-FORWARD {{
                iifname "tap*" jump filter-cali-from-wl-dispatch
                oifname "tap*" jump filter-cali-to-wl-dispatch
            }}
            chain filter-FORWARD {{ type filter hook forward priority 0; jump filter-cali-FORWARD; }}
        }}"""
        run("nft", "-f", "-", text=text)
    run("nft", "-f", "-", text="table arp calico-arp { chain filter-OUTPUT { type filter hook output priority 0; }; }")


def allowed(guests: tuple[Guest, Guest], sources: str = "10.65.0.1/32", *nats: Nat) -> Changes:
    """Both guests may send; they hear from these sources only. `nats` are floating IPs of `two`."""
    one, two = guests
    changes = Changes()
    ingress = (WantedRule(action="allow", source=WantedMatch(nets=(parse_net(sources),))),)
    changes.policies = {GROUP: WantedPolicy(key=GROUP, ingress=ingress, egress=ALL)}
    changes.endpoints = {value.key: value for value in (endpoint(one), endpoint(two, nats=nats))}
    return changes
