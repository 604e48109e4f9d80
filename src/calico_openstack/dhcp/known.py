"""The last documents that this host served by, on its own disk: for a boot while etcd is away.

A snapshot from etcd replaces them; they are never newer than etcd, and only widen what dnsmasq answers to a guest on a
tap with the right MAC address.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from calico_openstack.daemon.logs import get_logger
from calico_openstack.dhcp.files import write_if_different
from calico_openstack.etcd.values import Event

log = get_logger("dhcp.known")


def save(path: Path, documents: Mapping[str, bytes]) -> None:
    """Only root may read it: it names guests."""
    texts = {key: value.decode(errors="replace") for key, value in documents.items()}
    write_if_different(path, msgspec.json.encode(texts).decode(), 0o600)


def load(path: Path) -> list[Event]:
    """As if etcd had just told it; nothing if there is no such file, or no sense in it."""
    try:
        texts = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("known.unreadable", file=str(path), reason=str(error), cure="nothing to do: etcd replaces it")
        return []
    return [Event(key, text.encode(), 0) for key, text in texts.items()]
