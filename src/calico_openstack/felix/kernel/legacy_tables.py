"""The old ip_tables of the kernel: what is in them, and removing what upstream left there.

They can only be changed whole, by a blob that the `iptables-legacy` programs know how to make. /proc says, per network
namespace, which of them are in use; where none is, no program is started, and so no module of the kernel is loaded.
A removal is one `iptables-legacy-restore --noflush` per family: each table changes at once, and all other rules keep
their places and counters.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from calico_openstack.felix.foreign import ForeignChain, ForeignRule, Place, read_reached
from calico_openstack.felix.upstream import Leftovers

_NAMES = {"ip": "ip_tables_names", "ip6": "ip6_tables_names"}
_PROGRAMS = {"ip": "iptables-legacy", "ip6": "ip6tables-legacy"}
_HOOKS = {
    "PREROUTING": "prerouting",
    "INPUT": "input",
    "FORWARD": "forward",
    "OUTPUT": "output",
    "POSTROUTING": "postrouting",
}
_VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return"}
_SILENT = frozenset(("LOG", "NFLOG", "MARK", "CONNMARK", "NOTRACK", "CT", "TOS", "DSCP", "TCPMSS", "CHECKSUM", ""))
_TIME = 60.0
"""Seconds for one program; it may wait for the lock of all iptables programs."""


def in_use(proc: Path = Path("/proc/thread-self/net")) -> list[str]:
    """The families, `ip` and `ip6`, that have old tables in this network namespace."""
    return [family for family, name in _NAMES.items() if _read(proc / name).strip()]


def read_chains(families: list[str], whole: bool) -> list[ForeignChain]:
    """The chains of these families, as `read_reached` has it. OSError if the program that lists them is missing or
    fails."""
    return [
        chain
        for family in families
        for chain in parse(family, _run([_program(family, "save")], f"the old tables of {family} are unread"), whole)
    ]


def remove(leftovers: Leftovers) -> int:
    """Remove what is in old tables; how many chains and rules that were. OSError if a program is missing or fails."""
    scripts = script(leftovers)
    for family, text in scripts.items():
        about = f"upstream's chains in the old tables of {family} cannot be removed"
        _run([_program(family, "restore"), "--noflush", "--wait=10"], about, text)
    return sum(line.startswith(("-D", "-X")) for text in scripts.values() for line in text.splitlines())


def parse(family: str, text: str, whole: bool = True) -> list[ForeignChain]:
    """What `iptables-save` printed."""
    found: list[ForeignChain] = []
    for part in re.split(r"^\*", text, flags=re.MULTILINE)[1:]:
        found += _parse_table(family, part, whole)
    return found


def _parse_table(family: str, text: str, whole: bool) -> list[ForeignChain]:
    table, *lines = text.splitlines()
    chains: dict[str, ForeignChain] = {}
    rules: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith(":"):
            name, policy = line[1:].split()[:2]
            hook = _HOOKS.get(name, "") if policy != "-" else ""
            chains[name] = ForeignChain(Place("legacy", family, table, name), hook=hook, accepts=policy != "DROP")
        elif line.startswith("-A "):
            _, name, rest = [*line.split(" ", 2), ""][:3]
            rules.setdefault(name, []).append(rest)
    return read_reached(chains, lambda name: map(_rule, rules.get(name, ())), whole)


def script(leftovers: Leftovers) -> dict[str, str]:
    """Per family, what `iptables-restore --noflush` is to do: rules that lead to the chains first, then the chains."""
    places = [place for place in (*leftovers.chains, *leftovers.rules) if place.layer == "legacy"]
    scripts: dict[str, str] = {}
    for family, table in sorted({(place.family, place.table) for place in places}):
        lines = [f"*{table}", *sorted(_lines(leftovers, family, table), key=_turn), "COMMIT"]
        scripts[family] = scripts.get(family, "") + "\n".join(lines) + "\n"
    return scripts


def _lines(leftovers: Leftovers, family: str, table: str) -> Iterator[str]:
    for place, rules in leftovers.rules.items():
        if place[:3] == ("legacy", family, table):
            yield from (f"-D {place.chain} {rule}".rstrip() for rule in rules)
    for place in sorted(leftovers.chains):
        if place[:3] == ("legacy", family, table):
            yield f"-F {place.chain}"
            yield f"-X {place.chain}"


def _turn(line: str) -> int:
    """References go before what they refer to."""
    return ("-D", "-F", "-X").index(line[:2])


def _rule(text: str) -> ForeignRule:
    found = ForeignRule(text)
    words = iter(_words(text))
    for word in words:
        if word in ("-j", "-g"):
            target = next(words, "")
            verdict = _VERDICTS.get(target, "")
            if not verdict and target not in _SILENT:
                # A chain, or a target of the kernel's, which no chain can be called.
                return found._replace(verdict="jump" if word == "-j" else "goto", target=target)
            return found._replace(verdict=verdict)  # what follows are options of the target
        if word in ("-i", "-o"):
            name = next(words, "").replace("+", "*")
            found = found._replace(into=name) if word == "-i" else found._replace(out=name)
        elif word == "--comment":
            found = found._replace(comments=(*found.comments, next(words, "")))
        elif word == "-m":
            found = found._replace(conditional=found.conditional or next(words, "") != "comment")
        else:
            found = found._replace(conditional=True)
    return found


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _program(family: str, verb: str) -> str:
    name = f"{_PROGRAMS[family]}-{verb}"
    found = shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if found is None:
        raise FileNotFoundError(2, f"old tables of {family} are in use, but there is no {name}; install iptables")
    return found


def _run(command: list[str], about: str, text: str = "") -> str:
    environment = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_TIME, env=environment)
    except subprocess.TimeoutExpired as error:
        raise OSError(110, f"{about}: {command[0]} did not end within {_TIME:.0f} s") from error
    if done.returncode:
        raise OSError(5, f"{about}: {command[0]}: {done.stderr.strip()}")
    return done.stdout


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
