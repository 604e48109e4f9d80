"""What to do, as values: each step prints as one line that a person could have typed.

A plan is a tuple of `Stage`s; a stage has a title for the progress display, the stages it needs, and steps that run in
order. Stages that do not need each other may run at the same time. Nothing here does anything: `execute` does, and
`--dry-run` only prints. Secrets are in the values; printing shows file contents by size only, and a dry run is made
with place-holders instead of passwords.
"""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from calico_openstack.sandbox.spec import Guest, Network, SecurityGroup

Environment = tuple[tuple[str, str], ...]
# Variables that hold a password: a failed step is printed, and may end in a bug report.
_SECRET = ("ETCDCTL_USER", "OS_BOOTSTRAP_PASSWORD")


def _assignments(environment: Environment) -> list[str]:
    return [f"{key}={'***' if key in _SECRET else shlex.quote(value)}" for key, value in environment]


def command_line(argv: tuple[str, ...], namespace: str | None = None) -> tuple[str, ...]:
    """The command as it is really executed; `ip netns exec` also gives it a /sys of its namespace."""
    return ("ip", "netns", "exec", namespace, *argv) if namespace else argv


@dataclass(frozen=True, slots=True)
class Run:
    """Run a command to its end; a non-zero exit fails the stage."""

    argv: tuple[str, ...]
    namespace: str | None = None
    environment: Environment = ()
    stdin: str | None = None

    def __str__(self) -> str:
        return " ".join([*_assignments(self.environment), shlex.join(command_line(self.argv, self.namespace))]) + (
            " < (input)" if self.stdin else ""
        )


@dataclass(frozen=True, slots=True)
class Directory:
    path: Path
    mode: int = 0o755
    owner: str | None = None

    def __str__(self) -> str:
        owner = f" -o {self.owner}" if self.owner else ""
        return f"install -d -m {self.mode:o}{owner} {self.path}"


@dataclass(frozen=True, slots=True)
class Write:
    """Write a file whole; it is never half there."""

    path: Path
    content: str = field(repr=False)
    mode: int = 0o644
    owner: str | None = None

    def __str__(self) -> str:
        return f"write {self.path} ({self.content.count(chr(10))} lines, mode {self.mode:o})"


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy a directory tree with owners and modes."""

    source: Path
    target: Path

    def __str__(self) -> str:
        return f"cp -a {self.source} {self.target}"


@dataclass(frozen=True, slots=True)
class Start:
    """Start a process that stays; `name` is `<place>/<program>`. Its output goes to `log`.

    `supervised`: start it again when it ends, as systemd would with Restart=always. Felix counts on that: it ends
    when a setting changes that it reads at its start only.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    namespace: str | None = None
    environment: Environment = ()
    supervised: bool = False

    def __str__(self) -> str:
        line = " ".join([*_assignments(self.environment), shlex.join(command_line(self.argv, self.namespace))])
        return f"{line} > {self.log} &    # {self.name}{', restarted when it ends' if self.supervised else ''}"


@dataclass(frozen=True, slots=True)
class Stop:
    """End a process that an earlier step started, politely first."""

    name: str
    limit: float = 20.0

    def __str__(self) -> str:
        return f"stop {self.name} (within {self.limit:g} s)"


@dataclass(frozen=True, slots=True)
class FileThere:
    path: Path

    def __str__(self) -> str:
        return f"{self.path} is there"


@dataclass(frozen=True, slots=True)
class SocketOpen:
    """A unix socket accepts connections."""

    path: Path

    def __str__(self) -> str:
        return f"{self.path} accepts connections"


@dataclass(frozen=True, slots=True)
class HttpAnswers:
    """A GET from inside the namespace is answered with a status below 500."""

    namespace: str
    url: str

    def __str__(self) -> str:
        return f"{self.url} answers (in {self.namespace})"


@dataclass(frozen=True, slots=True)
class Succeeds:
    """A command ends with exit status 0."""

    argv: tuple[str, ...]
    namespace: str | None = None
    environment: Environment = ()

    def __str__(self) -> str:
        return f"`{shlex.join(command_line(self.argv, self.namespace))}` succeeds"


Condition = FileThere | SocketOpen | HttpAnswers | Succeeds


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for a condition; give up at once when `process` ends, otherwise after `limit` seconds."""

    condition: Condition
    limit: float
    process: str | None = None

    def __str__(self) -> str:
        return f"wait until {self.condition} (at most {self.limit:g} s)"


@dataclass(frozen=True, slots=True)
class SeedIdentity:
    """Make Neutron's service user and catalogue entry in Keystone."""

    def __str__(self) -> str:
        return (
            "keystone: make project service, user neutron (roles service, admin), the network service and its endpoints"
        )


@dataclass(frozen=True, slots=True)
class MakeNetwork:
    network: Network

    def __str__(self) -> str:
        subnets = ", ".join(subnet.cidr for subnet in self.network.subnets)
        return f"neutron: make network {self.network.name} with {subnets}"


@dataclass(frozen=True, slots=True)
class MakeGroups:
    """All groups before their rules, because a rule may name any of them."""

    groups: tuple[SecurityGroup, ...]

    def __str__(self) -> str:
        groups = ", ".join(f"{group.name} ({len(group.rules)} rules)" for group in self.groups)
        return f"neutron: make security groups {groups or '(none but the default one)'}"


@dataclass(frozen=True, slots=True)
class WaitForAgents:
    """Every host's agents are alive in Neutron."""

    hosts: tuple[str, ...]
    limit: float = 60.0

    def __str__(self) -> str:
        return f"neutron: wait until the agents of {', '.join(self.hosts)} are alive (at most {self.limit:g} s)"


@dataclass(frozen=True, slots=True)
class Boot:
    """Boot guests as Nova would, through Neutron; several at a time."""

    guests: tuple[Guest, ...]

    def __str__(self) -> str:
        return "neutron, dhcp: boot " + ", ".join(f"{guest.name} on {guest.host}" for guest in self.guests)


Step = (
    Run
    | Directory
    | Write
    | Copy
    | Start
    | Stop
    | Wait
    | SeedIdentity
    | MakeNetwork
    | MakeGroups
    | WaitForAgents
    | Boot
)


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps under one title. `needs` are titles of stages that must be done before."""

    title: str
    steps: tuple[Step, ...]
    needs: tuple[str, ...] = ()


Plan = tuple[Stage, ...]


def describe(plan: Plan) -> str:
    """The whole plan as text, for `--dry-run`."""
    lines: list[str] = []
    for stage in plan:
        after = f"   (after {', '.join(stage.needs)})" if stage.needs else ""
        lines.append(f"# {stage.title}{after}")
        lines.extend(f"    {step}" for step in stage.steps)
    return "\n".join(lines) + "\n"
