"""A compute host for DHCP tests: a network namespace, a real etcd, the real agent as a process, and guests.

```
    etcd (loopback)      guest namespace      guest namespace
    calico-dhcp-agent      eth0                 eth0
    dnsmasq v4, v6           │                    │
    [host namespace] ── tap...                  tap...      (veth pairs as taps; sysctls and host routes as Felix does)
```

The host is the test thread's own namespace (unshare, setns back at the end), so programs started by a test are in it.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import ResourceKey, SubnetKey
from calico_openstack.model.names import endpoint_name, tap_mac, tap_name
from calico_openstack.testing.etcd_server import EtcdServer

NEWNET = 0x40000000
PATIENCE = 60.0
"""Seconds for a DHCPv6 lease: as long as `dhclient -1` itself tries. It syncs its leases to a disk that may be slow."""
HOST = "compute-01"
NETWORK = "5d6e7f80-9192-43a4-b5c6-d7e8f9a0b1c2"
LIBC = ctypes.CDLL(None, use_errno=True)

CLIENT_SCRIPT = """#!/bin/sh
# Called by udhcpc with an event in $1, by dhclient with one in $reason; sets the address, and keeps what it was told.
event="${reason:-$1}"
env > "$OUT.$event.new"
case "$event" in
deconfig) ip -4 addr flush dev "$interface"; ip link set "$interface" up ;;
bound|renew)
    ip -4 addr replace "$ip/$mask" dev "$interface"
    [ -z "$router" ] || ip -4 route replace default via $router onlink dev "$interface" ;;
BOUND6|RENEW6|REBIND6) ip -6 addr replace "$new_ip6_address/128" dev "$interface" ;;
esac
mv "$OUT.$event.new" "$OUT.$event"
exit 0
"""


def run(*words: str, check: bool = True, **more: object) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, **more)  # type: ignore[call-overload]
    assert not check or done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    return str(done.stdout)


def wait_for(what: str, condition: Callable[[], object], limit: float = 20.0) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"waited {limit:g} s in vain for: {what}"
        time.sleep(0.02)


@dataclass
class Guest:
    """A namespace with eth0, whose other end is a tap of the host."""

    host: "Host"
    port: str
    namespace: str
    mac: str
    client6: subprocess.Popen[bytes] | None = None

    @property
    def tap(self) -> str:
        return tap_name(self.port)

    def run(self, *words: str, check: bool = True) -> str:
        return run("ip", "netns", "exec", self.namespace, *words, check=check)

    def dhcp4(self, *more: str, tries: int = 5) -> dict[str, str] | None:
        """One lease by busybox udhcpc; what its script was told, or None."""
        out = self.host.directory / f"{self.namespace}.v4"
        bound = Path(f"{out}.bound")
        bound.unlink(missing_ok=True)
        wish = [word for option in ("staticroutes", "26", "hostname", "domain", "249") for word in ("-O", option)]
        words = ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", str(tries), "-T", "1", *wish, *more]
        run("ip", "netns", "exec", self.namespace, "env", f"OUT={out}", *words, "-s", self.host.script, check=False)
        return read_environment(bound) if bound.exists() else None

    def daemon4(self) -> subprocess.Popen[bytes]:
        """A client that stays: SIGUSR1 makes it renew, by unicast."""
        out = self.host.directory / f"{self.namespace}.v4"
        words = [
            "busybox",
            "udhcpc",
            "-i",
            "eth0",
            "-f",
            "-t",
            "5",
            "-T",
            "1",
            "-O",
            "dns",
            "-s",
            str(self.host.script),
        ]
        return self.host.start(["ip", "netns", "exec", self.namespace, "env", f"OUT={out}", *words])

    def told(self, event: str, family: str = "v4") -> dict[str, str]:
        path = Path(f"{self.host.directory}/{self.namespace}.{family}.{event}")
        return read_environment(path) if path.exists() else {}

    def forget(self, event: str, family: str = "v4") -> None:
        Path(f"{self.host.directory}/{self.namespace}.{family}.{event}").unlink(missing_ok=True)

    def dhcp6(self, *more: str, fresh: bool = False) -> dict[str, str] | None:
        """One lease by ISC dhclient, which stays, with its address on eth0; None if none came in `PATIENCE` seconds.

        In the foreground: one that goes to the background writes its pid file after its parent has ended.
        """
        base = self.host.directory / f"{self.namespace}.v6"
        lease = Path(f"{base}.leases")
        if fresh:
            lease.unlink(missing_ok=True)
        Path(f"{base}.BOUND6").unlink(missing_ok=True)
        words = ["dhclient", "-6", "-1", "-d", "-v", "-lf", str(lease), "-pf", f"{base}.pid", "-sf", self.host.script]
        words += ["-e", f"OUT={base}", "-D", "LLT" if fresh else "LL", "-cf", "/dev/null", *more, "eth0"]
        self.client6 = self.host.start(["ip", "netns", "exec", self.namespace, *words], f"{base}.log")
        end = time.monotonic() + PATIENCE
        while not (told := self.told("BOUND6", "v6")) and self.client6.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        if not told:
            print("dhclient:", Path(f"{base}.log").read_text(errors="replace"), "agent:", self.host.log, sep="\n")
            self.dhcp6_stop()
        return told or None

    def dhcp6_stop(self) -> None:
        """End the client without a RELEASE, as a guest does that is switched off."""
        if self.client6 is not None:
            self.client6.kill()
            self.client6.wait(10)
            self.client6 = None

    def addresses6(self) -> list[str]:
        words = ("ip", "-n", self.namespace, "-6", "-j", "addr", "show", "dev", "eth0", "scope", "global", "-tentative")
        found = json.loads(run(*words))
        return [info["local"] for link in found for info in link.get("addr_info", []) if info]

    def pings(self, address: str) -> bool:
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespace, "ping", "-c1", "-W2", address], capture_output=True, timeout=10
        )
        return done.returncode == 0


@dataclass
class Host:
    directory: Path
    etcd: EtcdServer
    prefix: str
    region: str | None = None
    name: str = HOST
    guests: dict[str, Guest] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)
    agent: subprocess.Popen[bytes] | None = None
    extra: str = ""

    @property
    def script(self) -> str:
        return str(self.directory / "client")

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def log(self) -> str:
        path = self.directory / "agent.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, words: list[str], log: str = "/dev/null") -> subprocess.Popen[bytes]:
        with open(log, "ab") as file:
            process = subprocess.Popen(words, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def start_agent(self, wait: bool = True) -> None:
        calico = f"[calico]\netcd_endpoints = {self.etcd.endpoint}\ndhcp_state_dir = {self.state}\n"
        if self.region:
            calico += f"openstack_region = {self.region}\n"
        config = self.directory / "agent.conf"
        config.write_text(f"[DEFAULT]\nhost = {self.name}\n{self.extra}\n{calico}")
        before = self.log.count("store.in_sync")
        words = [sys.executable, "-m", "calico_openstack.dhcp.main", "--config-file", str(config)]
        self.agent = self.start(words, str(self.directory / "agent.log"))
        if wait:
            wait_for("the agent is in sync", lambda: self.log.count("store.in_sync") > before or self._dead())
            wait_for("both dnsmasq run", lambda: self.server("v4") and self.server("v6"))

    def kill_agent(self, number: int = signal.SIGKILL) -> None:
        assert self.agent is not None
        self.agent.send_signal(number)
        self.agent.wait(10)

    def _dead(self) -> bool:
        assert self.agent is not None
        assert self.agent.poll() is None, self.log
        return False

    def server(self, family: str) -> int:
        """The pid of a running dnsmasq, 0 for none."""
        try:
            pid = int((self.state / family / "dnsmasq.pid").read_text())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return 0
        return pid

    def hosts(self, family: str = "v4") -> str:
        path = self.state / family / "hosts"
        return path.read_text() if path.exists() else ""

    def put(self, path: str, document: dict[str, object] | None) -> None:
        words = ["etcdctl", f"--endpoints={self.etcd.endpoint}"]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        if document is None:
            run(*words, "del", path, env=environment)
        else:
            run(*words, "put", path, input=json.dumps(document), env=environment)

    def get(self, path: str) -> str:
        words = ["etcdctl", f"--endpoints={self.etcd.endpoint}", "get", "--print-value-only", path]
        return run(*words, env={**os.environ, "ETCDCTL_API": "3"}).strip()

    def subnet(self, cidr: str, subnet_id: str = "", network: str = NETWORK, **fields: object) -> str:
        subnet_id = subnet_id or f"subnet-{cidr.replace('/', '-').replace(':', '-')}"
        document = {"network_id": network, "cidr": cidr, "host_routes": [], "gateway_ip": None, **fields}
        self.put(SubnetKey(self.region, subnet_id).path, document)
        return subnet_id

    def no_subnet(self, subnet_id: str) -> None:
        self.put(SubnetKey(self.region, subnet_id).path, None)

    def endpoint(
        self, port: str, *addresses: str, mac: str = "", network: str = NETWORK, fqdn: str = "", gone: bool = False
    ) -> None:
        namespace = f"openstack-region-{self.region}" if self.region else "openstack"
        key = EndpointKey(namespace, self.name, "openstack", f"server-of-{port}", port)
        name = endpoint_name(key)
        path = ResourceKey("WorkloadEndpoint", name, namespace).path
        if gone:
            self.put(path, None)
            return
        annotations = {"openstack.projectcalico.org/network-id": network}
        if fqdn:
            annotations["openstack.projectcalico.org/fqdn"] = fqdn
        spec = {
            "orchestrator": "openstack",
            "workload": key.workload,
            "node": self.name,
            "endpoint": port,
            "interfaceName": tap_name(port),
            "mac": mac or self.guests[port].mac,
            "ipNetworks": [f"{one}/{128 if ':' in one else 32}" for one in addresses],
            "allowedIps": [],
        }
        metadata = {"name": name, "namespace": namespace, "annotations": annotations, "labels": {}}
        self.put(
            path,
            {"kind": "WorkloadEndpoint", "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec},
        )

    def plug(self, port: str, mac: str, *addresses: str) -> Guest:
        """A guest behind a new tap, with what Felix would do for it: sysctls, and a route per address."""
        guest = self.guests.get(port)
        if guest is None:
            guest = Guest(self, port, f"{self.prefix}-{len(self.guests)}", mac)
            self.guests[port] = guest
            run("ip", "netns", "add", guest.namespace)
            run("ip", "-n", guest.namespace, "link", "set", "lo", "up")
        guest.mac = mac
        self.make_tap(guest)
        for address in addresses:
            family = "-6" if ":" in address else "-4"
            run("ip", family, "route", "replace", address, "dev", guest.tap)
        return guest

    def make_tap(self, guest: Guest, mtu: int = 1450) -> None:
        words = ["link", "add", guest.tap, "mtu", str(mtu), "address", tap_mac(guest.mac), "type", "veth"]
        peer = ["peer", "name", "eth0", "address", guest.mac, "netns", guest.namespace]
        run("ip", *words, *peer)
        for name, value in (
            (f"ipv6/conf/{guest.tap}/accept_ra", "0"),
            (f"ipv6/conf/{guest.tap}/forwarding", "1"),
            (f"ipv4/conf/{guest.tap}/forwarding", "1"),
            (f"ipv4/conf/{guest.tap}/proxy_arp", "1"),
            (f"ipv4/neigh/{guest.tap}/proxy_delay", "0"),
            (f"ipv6/conf/{guest.tap}/proxy_ndp", "1"),
        ):
            Path(f"/proc/sys/net/{name}").write_text(value)
        run("ip", "link", "set", guest.tap, "up")
        run("ip", "-n", guest.namespace, "link", "set", "eth0", "up")

    def unplug(self, guest: Guest) -> None:
        run("ip", "link", "del", guest.tap)

    def tap_addresses(self, guest: Guest) -> set[str]:
        found = json.loads(run("ip", "-j", "addr", "show", "dev", guest.tap))
        return {f"{one['local']}/{one['prefixlen']}" for one in found[0]["addr_info"] if not self._kernels(one)}

    @staticmethod
    def _kernels(address: dict[str, object]) -> bool:
        return address["scope"] == "link" and not address.get("noprefixroute")

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(10)
        for family in ("v4", "v6"):
            if self.server(family):
                self.pids.append(self.server(family))
        for guest in self.guests.values():
            self.pids += [int(pid) for pid in run("ip", "netns", "pids", guest.namespace, check=False).split()]
        for pid in self.pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for guest in self.guests.values():
            run("ip", "netns", "del", guest.namespace, check=False)


def read_environment(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


@pytest.fixture(scope="module")
def namespace() -> Iterator[None]:
    """The test thread in a network namespace of its own, as a router."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    assert LIBC.unshare(NEWNET) == 0, os.strerror(ctypes.get_errno())
    try:
        run("ip", "link", "set", "lo", "up")
        for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            Path(f"/proc/sys/net/{name}").write_text("1")
        yield
    finally:
        assert LIBC.setns(before, NEWNET) == 0
        os.close(before)


@pytest.fixture(scope="module")
def etcd(namespace: None) -> Iterator[EtcdServer]:
    with EtcdServer() as server:
        yield server


@pytest.fixture
def bare_host(etcd: EtcdServer) -> Iterator[Host]:
    """A host whose agent is not started yet."""
    directory = Path(tempfile.mkdtemp(prefix="cot-dhcp-"))
    directory.chmod(0o755)
    script = directory / "client"
    script.write_text(CLIENT_SCRIPT)
    script.chmod(0o755)
    host = Host(directory, etcd, f"cot-dhcp-{os.getpid()}")
    try:
        run("etcdctl", f"--endpoints={etcd.endpoint}", "del", "--prefix", "/", env={**os.environ, "ETCDCTL_API": "3"})
        yield host
    finally:
        host.close()
        for line in run("ip", "-o", "link").splitlines():
            tap = line.split(": ")[1].split("@")[0]
            if tap.startswith("tap"):
                run("ip", "link", "del", tap, check=False)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def host(bare_host: Host) -> Host:
    bare_host.start_agent()
    return bare_host
