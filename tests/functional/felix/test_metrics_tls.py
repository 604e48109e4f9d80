"""Metrics for those only who have a certificate."""

import asyncio
import ssl
from pathlib import Path

import pytest

from calico_openstack.felix.metrics_server import MetricsServer
from calico_openstack.felix.settings import FelixSettings
from calico_openstack.testing.certificates import make_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server's and a client's certificate, and a stranger's own, made by openssl."""
    return make_certificates(tmp_path_factory.mktemp("tls"))


def scraped(certificates: Path, client: str | None, **settings: str) -> bytes:
    """What a client with that certificate gets; empty if it is not let in."""

    async def run() -> bytes:
        served = FelixSettings(
            "compute-01",
            prometheus_metrics_host="127.0.0.1",
            prometheus_metrics_port=0,
            prometheus_metrics_ca_file=str(certificates / "ca.crt"),
            prometheus_metrics_cert_file=str(certificates / "server.crt"),
            prometheus_metrics_key_file=str(certificates / "server.key"),
            **settings,  # type: ignore[arg-type]
        )
        server = await MetricsServer(lambda: b"felix_host 1\n").start(served)
        context = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
        if client is not None:
            context.load_cert_chain(certificates / f"{client}.crt", certificates / f"{client}.key")
        try:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2], ssl=context)
            writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer
        except (ssl.SSLError, ConnectionError):
            return b""
        finally:
            await server.close()

    return asyncio.run(asyncio.wait_for(run(), 20))


def test_a_client_of_the_authority_is_let_in(certificates: Path) -> None:
    assert scraped(certificates, "client").endswith(b"felix_host 1\n")


@pytest.mark.parametrize("client", [None, "stranger"])
def test_nobody_else_is(certificates: Path, client: str | None) -> None:
    assert scraped(certificates, client) == b""


def test_clients_need_no_certificate_if_so_set(certificates: Path) -> None:
    answer = scraped(certificates, None, prometheus_metrics_client_auth="noclientcert")

    assert answer.endswith(b"felix_host 1\n")
