"""How a gRPC channel to an endpoint is set up; the same for both skins.

The numbers are measured (grpcio 1.83 to 1.85): without `grpc.http2.ping_timeout_ms` a frozen server is noticed
after 69 s in spite of keepalive, with it after 14 s; `grpc.min_reconnect_backoff_ms` is also the time for one
connection attempt, and 50 ms failed on a busy machine; 4 MiB is gRPC's default limit for one answer, and a
thousand events can be more.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

import grpc

from calico_openstack.etcd.values import EtcdSettings

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.http2.ping_timeout_ms", 5000),
    # etcd is on the management network; a proxy from the environment would only break it.
    ("grpc.enable_http_proxy", 0),
)


def target(settings: EtcdSettings, endpoint: str) -> tuple[str, bool]:
    """`host:port` for gRPC, and whether to speak TLS. Raises ValueError naming an endpoint that is none."""
    bare = "://" not in endpoint
    parts = urlsplit(f"//{endpoint}" if bare else endpoint)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("", "http", "https"):
        raise ValueError(f"etcd endpoint {endpoint!r} is not http://host:port, https://host:port or host:port")
    tls = bool(settings.ca_file or settings.cert_file) if bare else parts.scheme == "https"
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port or 2379}", tls


def credentials(settings: EtcdSettings) -> Any:
    """TLS credentials from the settings' files, read now. Raises OSError naming the file.

    A certificate without a key, or the reverse, also an empty file while it is being renewed, would make gRPC abort
    the whole process (grpc_tls_certificate_distributor.cc).
    """
    certificate, key = _read(settings.cert_file), _read(settings.key_file)
    if bool(certificate) != bool(key):
        lacking, path = ("certificate", settings.cert_file) if key else ("key", settings.key_file)
        found = f"{path} is empty" if path else "none is set"
        raise OSError(f"a client certificate and its key are needed together, and the {lacking} is missing: {found}")
    return grpc.ssl_channel_credentials(
        root_certificates=_read(settings.ca_file), private_key=key, certificate_chain=certificate
    )


def stamp(settings: EtcdSettings) -> tuple[int, ...]:
    """Changes when a TLS file is renewed: gRPC keeps what it once read, so channels must then be made anew."""
    return tuple(_changed(path) for path in (settings.ca_file, settings.cert_file, settings.key_file))


def metadata(token: str) -> tuple[tuple[str, str], ...]:
    """Sent with each call. `hasleader` makes a member that is cut off from its cluster refuse instead of hang."""
    lead = (("hasleader", "true"),)
    return (*lead, ("token", token)) if token else lead


def _changed(path: str | None) -> int:
    try:
        return os.stat(path).st_mtime_ns if path else 0
    except OSError:
        return -1


def _read(path: str | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()
