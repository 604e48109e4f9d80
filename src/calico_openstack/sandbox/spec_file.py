"""A spec as YAML: read into values and written back, with errors that name the place.

name: calico
hosts: 2
mode: full                     # or light
networks:
  - name: net1
    subnets: [{cidr: 10.65.0.0/24}, {cidr: "2001:db8:65::/64", ipv6_mode: slaac}]
groups:
  - name: web
    rules: [{protocol: tcp, ports: [80, 80], remote_cidr: 0.0.0.0/0}]
guests:
  - {name: g1, host: h1, network: net1, groups: [default, web]}
"""

from typing import Any, get_args

import msgspec
import yaml

from calico_openstack.sandbox.spec import Direction, EtherType, Ipv6Mode, Mode, Spec, SpecError


def read_spec(text: str) -> Spec:
    """The spec in a YAML text; raises SpecError for anything that is not one."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError("file", f"is not YAML ({error}); see docs/sandbox.md for an example") from None
    if raw is None:
        return Spec()
    _refuse_unknown(raw)
    return from_plain(raw)


def from_plain(raw: Any) -> Spec:
    """A spec from plain dicts and lists, as YAML and JSON give them."""
    try:
        return msgspec.convert(raw, Spec)
    except msgspec.ValidationError as error:
        # msgspec wraps what __post_init__ raised; our own words are the better ones.
        if isinstance(error.__cause__, SpecError):
            raise error.__cause__ from None
        reason, _, place = str(error).partition(" - at ")
        place = place.strip("`$.") or "spec"
        choices = _CHOICES.get(place.rpartition(".")[2])
        cure = f"use one of {', '.join(choices)}" if choices else "see docs/sandbox.md for an example"
        raise SpecError(place, f"{reason}; {cure}") from None


def to_plain(spec: Spec) -> Any:
    """The spec as plain dicts and lists; `from_plain` gives the same spec back."""
    return msgspec.to_builtins(spec)


_CHOICES = {
    "mode": get_args(Mode),
    "ipv6_mode": get_args(Ipv6Mode),
    "direction": get_args(Direction),
    "ethertype": get_args(EtherType),
}
_FIELDS = {
    "": ("name", "hosts", "mode", "networks", "groups", "guests"),
    "networks": ("name", "subnets", "mtu"),
    "networks.subnets": ("cidr", "ipv6_mode", "dns"),
    "groups": ("name", "rules", "open_egress"),
    "groups.rules": ("direction", "ethertype", "protocol", "ports", "remote_group", "remote_cidr"),
    "guests": ("name", "host", "network", "groups"),
}


def _refuse_unknown(raw: Any, place: str = "") -> None:
    """A misspelt field would otherwise be ignored without a word."""
    for item in raw if isinstance(raw, list) else [raw]:
        if not isinstance(item, dict):
            continue
        for key, value in item.items():
            if key not in _FIELDS[place]:
                raise SpecError(f"{place}.{key}".lstrip("."), f"is not a field; use {', '.join(_FIELDS[place])}")
            deeper = f"{place}.{key}".lstrip(".")
            if deeper in _FIELDS:
                _refuse_unknown(value, deeper)
