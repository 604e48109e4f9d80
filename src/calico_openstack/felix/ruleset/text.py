"""Any ruleset or transaction as text for `nft -f`: for people, dry runs, golden files and as a second
opinion on our netlink.

Made for nft 1.0.6 and later. What this prints and what `felix.kernel` sends lists identically (`nft list`);
a test holds them together.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator

from calico_openstack.felix.ruleset import fields, statements
from calico_openstack.felix.ruleset.fields import DataType, Field
from calico_openstack.felix.ruleset.objects import (
    ANY_KEY,
    AddChain,
    AddElements,
    AddSet,
    AddTable,
    Chain,
    DropChain,
    DropElements,
    DropSet,
    DropTable,
    Hook,
    Key,
    NftChanges,
    Operation,
    Rule,
    Ruleset,
    SetRules,
    SetSpec,
    Value,
)
from calico_openstack.felix.ruleset.statements import Statement, Verdict

_STATES = (
    (statements.INVALID, "invalid"),
    (statements.ESTABLISHED, "established"),
    (statements.RELATED, "related"),
    (statements.NEW, "new"),
    (statements.UNTRACKED, "untracked"),
)


def print_ruleset(ruleset: Ruleset) -> str:
    """The whole ruleset as `table` blocks, sorted by name so that two prints can be compared."""
    lines: list[str] = []
    for table in sorted(ruleset):
        content = ruleset[table]
        lines.append(f"table {table.family} {table.name} {{")
        for name in sorted(content.sets):
            lines += _set_block(content.sets[name].spec, content.sets[name].elements)
        # Chains are declared before any is filled: nft wants a jump's target to exist.
        lines += [_chain_head(content.chains[name]) for name in sorted(content.chains)]
        for name in sorted(content.chains):
            lines += [
                f"  chain {name} {{",
                *(f"    {print_rule(rule)}" for rule in content.chains[name].rules),
                "  }",
            ]
        lines.append("}")
        for name in sorted(content.sets):
            named = content.sets[name]
            if named.spec.value is fields.VERDICT and named.elements:
                elements = _elements(named.spec, named.elements.items())
                lines.append(f"add element {table.family} {table.name} {name} {{ {elements} }}")
    return "\n".join(lines) + "\n"


def print_changes(changes: NftChanges) -> str:
    """One transaction as commands, in order."""
    return "".join(f"{line}\n" for operation in changes.operations for line in _commands(operation))


def print_rule(rule: Rule) -> str:
    return " ".join([*(print_statement(s) for s in rule.statements), f'comment "{rule.comment}"'])


def print_statement(statement: Statement) -> str:
    match statement:
        case statements.Equal(field, value, negate):
            shown = (
                f'"{value.decode()}*"' if field.type is fields.IFNAME and len(value) < 16 else _value(field.type, value)
            )
            return f"{field.text} {'!= ' if negate else ''}{shown}"
        case statements.Within(field, address, length, negate):
            return f"{field.text} {'!= ' if negate else ''}{_value(field.type, address)}/{length}"
        case statements.Between(field, first, last, negate):
            shown = f"{_value(field.type, first)}-{_value(field.type, last)}"
            return f"{field.text} {'!= ' if negate else ''}{shown}"
        case statements.InSet(parts, name, negate):
            return f"{_joined(parts)} {'!= ' if negate else ''}@{name}"
        case statements.CtState(states):
            return "ct state " + ",".join(word for bit, word in _STATES if states & bit)
        case statements.Translated():
            return "ct status dnat"
        case statements.NoTrack():
            return "notrack"
        case statements.HasMark(bit, negate):
            return f"meta mark & {bit:#010x} {'!=' if negate else '=='} {bit:#010x}"
        case statements.SetMark(bits, clear):
            return f"meta mark set meta mark {f'& {bits ^ 0xFFFFFFFF:#010x}' if clear else f'| {bits:#010x}'}"
        case statements.ByMap(parts, name):
            return f"{_joined(parts)} vmap @{name}"
        case Verdict():
            return _verdict(statement)
        case statements.Reject():
            return "reject with icmpx port-unreachable"
        case statements.Log(prefix):
            return f'log prefix "{prefix}" level info'
        case statements.Dnat(version, address, port):
            shown = _value(fields.ADDRESS[version], address)
            return f"dnat {_ip(version)} to {shown if version == 4 else f'[{shown}]'}:{port}"
        case statements.NatByMap(kind, version, parts, name):
            return f"{kind} {_ip(version)} to {_joined(parts)} map @{name}"
        case statements.Reset():
            return "reject with tcp reset"
        case statements.Rate(rate, unit, burst, over):
            return f"limit rate {'over ' if over else ''}{rate}/{unit} burst {burst} packets"
        case statements.RateOf(parts, name, rate, unit, burst, over):
            bucket = print_statement(statements.Rate(rate, unit, burst, over))
            return f"update @{name} {{ {_joined(parts)} {bucket} }}"
        case statements.Remember(parts, name, refresh):
            return f"{'update' if refresh else 'add'} @{name} {{ {_joined(parts)} }}"
        case statements.MoreConnections(limit):
            return f"ct count over {limit}"
        case statements.SetDscp(version, value):
            return f"{_ip(version)} dscp set {value}"
        case statements.Masquerade(ports):
            return f"masquerade to :{_port_range(ports)}" if ports else "masquerade"
        case statements.Snat(version, address, ports):
            shown = _value(fields.ADDRESS[version], address)
            if ports:
                shown = f"{shown if version == 4 else f'[{shown}]'}:{_port_range(ports)}"
            return f"snat {_ip(version)} to {shown}"


def _port_range(ports: tuple[int, int]) -> str:
    return f"{ports[0]}-{ports[1]}" if ports[0] != ports[1] else str(ports[0])


def _commands(operation: Operation) -> Iterator[str]:
    at = f"{operation.table.family} {operation.table.name}"
    match operation:
        case AddTable():
            yield f"add table {at}"
        case DropTable():
            yield f"delete table {at}"
        case AddSet(_, spec):
            kind = "map" if spec.value else "set"
            yield f"add {kind} {at} {spec.name} {{ {' '.join(_spec(spec))} }}"
        case DropSet(_, name):
            yield f"delete set {at} {name}"
        case AddChain(_, name, hook):
            yield f"add chain {at} {name}" + (f" {{ {_hook(hook)} }}" if hook else "")
        case DropChain(_, name):
            yield f"delete chain {at} {name}"
        case SetRules(_, chain, rules, fresh):
            if not fresh:
                yield f"flush chain {at} {chain}"
            for rule in rules:
                yield f"add rule {at} {chain} {print_rule(rule)}"
        case AddElements(_, spec, elements):
            yield f"add element {at} {spec.name} {{ {_elements(spec, elements)} }}"
        case DropElements(_, spec, keys):
            yield f"delete element {at} {spec.name} {{ {', '.join(sorted(print_key(spec, key) for key in keys))} }}"


def _set_block(spec: SetSpec, elements: dict[Key, Value]) -> list[str]:
    lines = [f"  {'map' if spec.value else 'set'} {spec.name} {{", *(f"    {line}" for line in _spec(spec))]
    if elements and spec.value is not fields.VERDICT:
        lines.append(f"    elements = {{ {_elements(spec, elements.items())} }}")
    return [*lines, "  }"]


def _spec(spec: SetSpec) -> list[str]:
    kind = " . ".join(part.name for part in spec.key)
    if spec.value:
        kind += f" : {spec.value.name}"
    if spec.dynamic:
        size, timeout = spec.dynamic
        return [f"type {kind};", f"size {size};", "flags dynamic,timeout;", f"timeout {timeout}s;"]
    return [f"type {kind};", *(["flags interval;"] if spec.interval else [])]


def _chain_head(chain: Chain) -> str:
    return f"  chain {chain.name} {{ {_hook(chain.hook)} }}" if chain.hook else f"  chain {chain.name} {{ }}"


def _hook(hook: Hook) -> str:
    return f"type {hook.type} hook {hook.hook} priority {hook.priority}; policy accept;"


def _elements(spec: SetSpec, elements: Iterable[tuple[Key, Value]]) -> str:
    printed = []
    for key, value in elements:
        shown = print_key(spec, key)
        if isinstance(value, Verdict):
            shown += f" : {_verdict(value)}"
        elif value is not None and spec.value:
            shown += f" : {_value(spec.value, value)}"
        printed.append(shown)
    return ", ".join(sorted(printed))


def print_key(spec: SetSpec, key: Key) -> str:
    """One element's key, in nft's notation (networks as CIDR, ranges with a dash, parts joined with a
    dot)."""
    if key == ANY_KEY:
        return "*"
    first, last = key if isinstance(key, tuple) else (key, key)
    parts, offset = [], 0
    for kind in spec.key:
        parts.append(_range(kind, first[offset : offset + kind.width], last[offset : offset + kind.width]))
        offset += kind.width + (-kind.width & 3)
    return " . ".join(parts)


def _range(kind: DataType, first: bytes, last: bytes) -> str:
    if first == last:
        return _value(kind, first)
    if kind in (fields.IPV4, fields.IPV6):
        low, high = int.from_bytes(first, "big"), int.from_bytes(last, "big")
        size = high - low + 1
        if size & size - 1 == 0 and low % size == 0:
            return f"{_value(kind, first)}/{kind.width * 8 - size.bit_length() + 1}"
    return f"{_value(kind, first)}-{_value(kind, last)}"


def _value(kind: DataType, value: bytes) -> str:
    printer = _PRINT.get(kind)
    return printer(value) if printer else str(int.from_bytes(value, "big"))


_PRINT: dict[DataType, Callable[[bytes], str]] = {
    fields.IPV4: lambda data: str(ipaddress.IPv4Address(data)),
    fields.IPV6: lambda data: str(ipaddress.IPv6Address(data)),
    fields.ETHER: lambda data: data.hex(":"),
    fields.IFNAME: lambda data: '"' + data.rstrip(b"\0").decode() + '"',
    fields.FAMILY: lambda data: "ipv4" if data == fields.V4 else "ipv6",
}


def _joined(parts: tuple[Field, ...]) -> str:
    return " . ".join(part.text for part in parts)


def _verdict(verdict: Verdict) -> str:
    return f"{verdict.kind} {verdict.chain}".rstrip()


def _ip(version: int) -> str:
    return "ip" if version == 4 else "ip6"
