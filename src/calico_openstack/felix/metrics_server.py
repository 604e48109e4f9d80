"""`/metrics`, on a listener of its own, as the settings `PrometheusMetrics...` say.

A listener that cannot be had (port taken, no such certificate) is reported and tried again every minute: nobody is
to lose the network for want of figures. What is half configured is not served at all. Scrapes within a second get
the same answer, and connections are taken in at a pace, so that asking often costs Felix next to nothing. A renewed
certificate is noticed within a minute.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from calico_openstack.daemon.exchange import http_answer, http_path, http_request, one_answer
from calico_openstack.daemon.logs import get_logger
from calico_openstack.daemon.paced import PacedServer, start
from calico_openstack.felix.settings import FelixSettings

log = get_logger("felix.metrics")

AGE = 1.0
"""Seconds for which an answer is given again."""

CHECK = 60.0
"""Seconds between two looks at the certificates, and between two tries."""

METRICS_SETTINGS = (
    "prometheus_metrics_enabled",
    "prometheus_metrics_host",
    "prometheus_metrics_port",
    "prometheus_metrics_ca_file",
    "prometheus_metrics_cert_file",
    "prometheus_metrics_key_file",
    "prometheus_metrics_client_auth",
)
"""What the listener is made from."""

_KIND = "text/plain; version=0.0.4; charset=utf-8"
_CLIENTS = {
    "requireandverifyclientcert": ssl.CERT_REQUIRED,
    "verifyclientcertifgiven": ssl.CERT_OPTIONAL,
    "noclientcert": ssl.CERT_NONE,
}


class MetricsServer:
    """`exposition` gives the body; called in the loop, so it may not block."""

    def __init__(self, exposition: Callable[[], bytes]) -> None:
        self._exposition = exposition
        self._body = b""
        self._until = 0.0

    async def serve(self, settings: FelixSettings) -> None:
        """Until cancelled; never raises for what cannot be served."""
        if not settings.prometheus_metrics_enabled:
            await asyncio.Event().wait()
        while True:
            stamps = _stamps(settings)
            try:
                server = await self.start(settings)
            except (OSError, ValueError) as error:
                log.warning("metrics.not_served", reason=str(error), again_in=CHECK)
                await asyncio.sleep(CHECK)
                continue
            where = " ".join(sock.getsockname()[0] for sock in server.sockets)
            log.info("metrics.served", on=where, port=settings.prometheus_metrics_port)
            try:
                while _stamps(settings) == stamps:  # noqa: ASYNC110 - files tell no events
                    await asyncio.sleep(CHECK)
            finally:
                await server.close()

    async def start(self, settings: FelixSettings) -> PacedServer:
        """OSError (ssl.SSLError is one) or ValueError if it cannot be served."""
        context = tls_context(settings)
        host, port = settings.prometheus_metrics_host or None, settings.prometheus_metrics_port
        return await start(one_answer(self._answer), host, port, context)

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        request = await http_request(reader)
        if http_path(request) != b"/metrics":
            return http_answer(request, "404 Not Found", b"")
        return http_answer(request, "200 OK", self._present(), _KIND)

    def _present(self) -> bytes:
        now = time.monotonic()
        if now >= self._until:
            self._body = self._exposition()
            self._until = now + AGE
        return self._body


def tls_context(settings: FelixSettings) -> ssl.SSLContext | None:
    """None without certificates. ValueError for half of a configuration, which must not mean: in clear text."""
    authority, certificate = settings.prometheus_metrics_ca_file, settings.prometheus_metrics_cert_file
    key = settings.prometheus_metrics_key_file
    if not (authority or certificate or key):
        return None
    if not (certificate and key):
        raise ValueError("PrometheusMetricsCertFile and PrometheusMetricsKeyFile are both needed for TLS")
    clients = _CLIENTS[settings.prometheus_metrics_client_auth]
    if clients is not ssl.CERT_NONE and not authority:
        raise ValueError(
            "PrometheusMetricsCAFile is needed to know clients by; or set PrometheusMetricsClientAuth = NoClientCert"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    if authority:
        context.load_verify_locations(authority)
    context.verify_mode = clients
    return context


def _stamps(settings: FelixSettings) -> list[int]:
    paths = (
        settings.prometheus_metrics_ca_file,
        settings.prometheus_metrics_cert_file,
        settings.prometheus_metrics_key_file,
    )
    stamps = []
    for path in paths:
        with suppress(OSError):
            stamps.append(Path(path).stat().st_mtime_ns if path else 0)
    return stamps
