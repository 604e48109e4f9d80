"""Where Felix's settings come from: file, environment, FelixConfiguration; each as parameter names to text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from calico_openstack.daemon.settings import SettingsError
from calico_openstack.felix.parameters import parameter, parameter_of_field
from calico_openstack.felix.settings import Source
from calico_openstack.model.cluster import FelixConfiguration

ENVIRONMENT_PREFIX = "FELIX_"


def file_source(path: str | Path) -> Source:
    """`name = value` or `name: value` lines; sections are ignored, as upstream does.

    A comment may follow a value after white space; quotes around a value are not part of it. SettingsError if the file
    is unreadable.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}; give the right --config-file") from error
    values: dict[str, str] = {}
    unknown: list[str] = []
    for line in text.splitlines():
        found = _LINE.fullmatch(line.strip())
        known = parameter(found["name"]) if found else None
        if found and known is not None:
            values[known] = _unquoted(found["value"])
        elif found:
            unknown.append(found["name"])
    return Source(str(path), values, local=True, unknown=tuple(unknown))


_LINE = re.compile(r"(?P<name>[^#;\[=:][^=:]*?)\s*[=:]\s*(?P<value>.*)")
_QUOTED = re.compile(r"""(["'`])(?P<value>.*)\1\s*([#;].*)?""")
_COMMENT = re.compile(r"(^|\s)[#;].*")


def _unquoted(text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    return quoted["value"] if quoted else _COMMENT.sub("", text).strip()


def environment_source(environment: Mapping[str, str]) -> Source:
    """`FELIX_<NAME>`, in any case."""
    values = {}
    unknown: list[str] = []
    for name, value in environment.items():
        if name.upper().startswith(ENVIRONMENT_PREFIX):
            known = parameter(name[len(ENVIRONMENT_PREFIX) :])
            if known is not None:
                values[known] = value
            else:
                unknown.append(name)
    return Source("environment", values, local=True, unknown=tuple(unknown))


_CLIENT_PREFIXES = ("CALICO_", "")
_CLIENT_NAMES = {
    "DATASTORE_TYPE": "DatastoreType",
    "ETCD_ENDPOINTS": "EtcdEndpoints",
    "ETCD_USERNAME": "EtcdUsername",
    "ETCD_PASSWORD": "EtcdPassword",
    "ETCD_CA_CERT_FILE": "EtcdCaFile",
    "ETCD_CERT_FILE": "EtcdCertFile",
    "ETCD_KEY_FILE": "EtcdKeyFile",
    "ETCD_DISCOVERY_SRV": "EtcdDiscoverySrv",
}


def client_source(environment: Mapping[str, str]) -> Source:
    """`CALICO_ETCD_ENDPOINTS` and so on, or without `CALICO_`: what all clients of upstream's read, weaker than what is
    said to Felix alone (libcalico-go/lib/apiconfig; felix/config, DatastoreConfig)."""
    values = {}
    for prefix in reversed(_CLIENT_PREFIXES):
        for name, known in _CLIENT_NAMES.items():
            value = environment.get(prefix + name, "")
            if value:
                values[known] = value
    return Source("environment of Calico's clients", values, local=True)


def datastore_sources(
    configurations: Iterable[FelixConfiguration], hostname: str, node_labels: Mapping[str, str]
) -> list[Source]:
    """The configurations that concern this host, from strong to weak.

    Of several whose nodeSelector matches only the oldest counts (by creation time, then name), as upstream.
    """
    by_name = {configuration.name: configuration for configuration in configurations}
    own, general = by_name.pop(f"node.{hostname}", None), by_name.pop("default", None)
    matching = [
        found
        for found in by_name.values()
        if found.node_selector is not None and found.node_selector.matches(node_labels)
    ]
    matching.sort(key=lambda found: (found.created, found.name))
    return [_source(found) for found in (own, *matching[:1], general) if found is not None]


def _source(configuration: FelixConfiguration) -> Source:
    values: dict[str, str] = {}
    unknown: list[str] = []
    for name, value in configuration.fields.items():
        known = parameter_of_field(name)
        if known is None:
            unknown.append(name)
        elif known in _PORT_LISTS:
            values[known] = _ports(value)
        elif value is not None:
            # Lists and objects are passed on, too: refused, or named as without effect.
            values[known] = str(value).lower() if isinstance(value, bool) else str(value)
    for name, text in configuration.overrides.items():
        known = parameter(name)
        if known is not None:
            values[known] = text
        else:
            unknown.append(name)
    return Source(f"FelixConfiguration {configuration.name}", values, unknown=tuple(unknown))


_PORT_LISTS = {"FailsafeInboundHostPorts", "FailsafeOutboundHostPorts"}


def _ports(value: object) -> str:
    """A list of {protocol, port, net} as the file would say it; another form is passed on, and refused."""
    if not isinstance(value, list):
        return str(value)
    entries = [
        ":".join(str(entry[part]) for part in ("protocol", "net", "port") if entry.get(part))
        if isinstance(entry, dict)
        else str(entry)
        for entry in value
    ]
    return ",".join(entries) or "none"
