"""What concerns the whole cluster: its readiness, Felix's configuration, address pools."""

from __future__ import annotations

from typing import Any

import msgspec

from calico_openstack.model.documents import PlainDoc
from calico_openstack.model.net import Net, parse_net
from calico_openstack.model.reading import decode, texts
from calico_openstack.model.selector import Selector, parse

CONFIG_ANNOTATION = "config.projectcalico.org/"


class ClusterInformation(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`ready` is true only if the document says so; agents write nothing to a kernel before."""

    name: str
    guid: str | None = None
    type: str = ""
    ready: bool = False

    @property
    def is_openstack(self) -> bool:
        return "openstack" in self.type.lower()


class FelixConfiguration(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Settings of Felix on all hosts (`default`), one (`node.<host>`) or those that `node_selector` matches.

    `fields` are the spec's JSON fields as they are; `overrides` come from annotations, keyed by parameter name.
    """

    name: str
    node_selector: Selector | None = None
    created: str = ""
    fields: dict[str, Any] = {}
    overrides: dict[str, str] = {}


class IpPool(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    name: str
    cidr: Net
    nat_outgoing: bool = False
    disabled: bool = False
    disable_bgp_export: bool = False


def read_cluster_information(name: str, value: bytes) -> ClusterInformation:
    spec = decode(value, PlainDoc).spec
    return ClusterInformation(
        name=name,
        guid=_text(spec, "clusterGUID") or None,
        type=_text(spec, "clusterType"),
        ready=spec.get("datastoreReady") is True,
    )


def read_felix_configuration(name: str, value: bytes) -> FelixConfiguration:
    document = decode(value, PlainDoc)
    fields = dict(document.spec)
    selector = fields.pop("nodeSelector", None)
    if selector is not None and not isinstance(selector, str):
        raise ValueError("nodeSelector: a selector text is expected")
    annotations = texts(document.metadata.annotations)
    return FelixConfiguration(
        name=name,
        node_selector=parse(selector) if selector else None,
        created=document.metadata.creation_timestamp or "",
        fields=fields,
        overrides={
            key.removeprefix(CONFIG_ANNOTATION): text
            for key, text in annotations.items()
            if key.startswith(CONFIG_ANNOTATION)
        },
    )


def read_ip_pool(name: str, value: bytes) -> IpPool:
    spec = decode(value, PlainDoc).spec
    return IpPool(
        name=name,
        cidr=parse_net(_text(spec, "cidr")),
        nat_outgoing=spec.get("natOutgoing") is True,
        disabled=spec.get("disabled") is True,
        disable_bgp_export=spec.get("disableBGPExport") is True,
    )


def _text(spec: dict[str, Any], field: str) -> str:
    value = spec.get(field, "")
    if not isinstance(value, str):
        raise ValueError(f"{field}: a text is expected, not {value!r}")
    return value
