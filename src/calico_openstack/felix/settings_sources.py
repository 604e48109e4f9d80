"""Where Felix's settings come from: file, environment, FelixConfiguration; each as parameter names to text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from calico_openstack.daemon.settings import SettingsError
from calico_openstack.felix.parameters import parameter, parameter_of_field
from calico_openstack.felix.settings import Source
from calico_openstack.model.cluster import FelixConfiguration

ENVIRONMENT_PREFIX = "FELIX_"


def file_source(path: str | Path) -> Source:
    """`name = value` lines; sections and unknown names are ignored, as upstream does. SettingsError if unreadable."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}; give the right --config-file") from error
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, separator, value = line.strip().partition("=")
        known = parameter(name.strip())
        if separator and known is not None and line.strip()[0] not in "#;[":
            values[known] = value.strip()
    return Source(str(path), values, local=True)


def environment_source(environment: Mapping[str, str]) -> Source:
    """`FELIX_<NAME>`, in any case."""
    values = {}
    for name, value in environment.items():
        if name.upper().startswith(ENVIRONMENT_PREFIX):
            known = parameter(name[len(ENVIRONMENT_PREFIX) :])
            if known is not None:
                values[known] = value
    return Source("environment", values, local=True)


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
    for name, value in configuration.fields.items():
        known = parameter_of_field(name)
        if known is not None and isinstance(value, str | int | float | bool):
            values[known] = str(value).lower() if isinstance(value, bool) else str(value)
    for name, text in configuration.overrides.items():
        known = parameter(name)
        if known is not None:
            values[known] = text
    return Source(f"FelixConfiguration {configuration.name}", values)
