"""What a scrape says, read by the parser that Prometheus' own library has."""

import asyncio
import re
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from calico_openstack.daemon.health import Health
from calico_openstack.etcd.values import Event
from calico_openstack.felix.calc.graph import Graph
from calico_openstack.felix.dataplane import TARGETS, Report
from calico_openstack.felix.datastore import Datastore
from calico_openstack.felix.metrics import exposition
from calico_openstack.felix.metrics_server import MetricsServer, tls_context
from calico_openstack.felix.running import Running
from calico_openstack.felix.settings import FelixSettings
from calico_openstack.felix.timing import Timing
from calico_openstack.felix.wanted.state import Changes, WantedEndpoint
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.names import sg_label
from calico_openstack.testing.written import WEB, allow, document, group, port

HOST = "compute-01"
KEY = EndpointKey("openstack", HOST, "openstack", "vm", "port")
PORT = "0a1b2c3d-0000-4000-8000-000000000001"


@pytest.fixture
def running() -> Running:
    settings = FelixSettings(HOST, prometheus_go_metrics_enabled=False, prometheus_process_metrics_enabled=False)
    return Running(settings, Health(), Datastore(Graph(HOST)), started=100.0, last_step=100.0)


def samples(body: bytes) -> dict[str, float]:
    """`name{label=value}` -> value."""

    def each() -> Iterator[tuple[str, float]]:
        for family in text_string_to_metric_families(body.decode()):
            for sample in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                yield sample.name + (f"{{{labels}}}" if labels else ""), sample.value

    found = list(each())
    assert len(found) == len(dict(found)), "a sample is there twice"
    return dict(found)


def report(statuses: list[tuple[EndpointKey, bool]], **operations: int) -> Report:
    return Report({**dict.fromkeys(TARGETS, 0), **operations}, statuses, {}, None)


def test_a_felix_that_has_done_nothing_yet_can_be_scraped(running: Running) -> None:
    found = samples(exposition(running, now=103.0))

    assert found[f"felix_host{{host={HOST}}}"] == 1
    assert found["felix_resync_state"] == 1
    assert found["calico_openstack_felix_datastore_ready"] == 0
    assert found["calico_openstack_felix_last_step_age_seconds"] == 3
    assert "calico_openstack_felix_first_step_seconds" not in found
    assert not any(name.startswith(("process_", "python_")) for name in found)


def test_steps_are_counted_and_timed(running: Running) -> None:
    changes = Changes(endpoints={KEY: WantedEndpoint(key=KEY, interface="tap1")})
    running.stepped(changes, report([(KEY, True)], nft=7, routes=1), seconds=0.004, now=105.0)
    running.stepped(Changes(), report([]), seconds=0.001, now=110.0)
    running.stepped(Changes(), report([(KEY, False)], routes=1), seconds=20.0, now=130.0)
    running.snapshots = 1

    found = samples(exposition(running, now=131.0))

    assert found["calico_openstack_felix_operations_total{target=nft}"] == 7
    assert found["calico_openstack_felix_operations_total{target=routes}"] == 2
    assert found["calico_openstack_felix_endpoints{status=up}"] == 0
    assert found["calico_openstack_felix_endpoints{status=down}"] == 1
    assert found["calico_openstack_felix_first_step_seconds"] == 5
    assert found["felix_calc_graph_output_events"] == 1
    assert found["felix_resync_state"] == 3
    # The second step had nothing to do and does not count.
    assert found["felix_int_dataplane_apply_time_seconds_count"] == 2
    assert found["felix_int_dataplane_apply_time_seconds_sum"] == pytest.approx(20.004)
    assert found["felix_int_dataplane_apply_time_seconds_bucket{le=0.005}"] == 1
    assert found["felix_int_dataplane_apply_time_seconds_bucket{le=10.0}"] == 1
    assert found["felix_int_dataplane_apply_time_seconds_bucket{le=+Inf}"] == 2


def test_the_cluster_is_counted_by_what_was_understood(running: Running) -> None:
    written = [
        port(PORT, "10.65.0.1/32", groups=(WEB,), host=HOST),
        port(PORT.replace("0001", "0002"), "10.65.0.2/32", groups=(WEB,), host="compute-02"),
        group(WEB, allow(6, [22])),
        document("Tier", "platform", "", {"order": 1}),
        document("GlobalNetworkPolicy", "typo", "", {"selector": "has(", "types": ["Ingress"]}),
    ]
    running.store.take(Event(path, content, 1) for path, content in written)
    running.store.take([Event(written[1][0], None, 2)])

    found = samples(exposition(running, now=101.0))

    assert found["felix_cluster_num_workload_endpoints"] == 1
    assert found["felix_cluster_num_hosts"] == 1
    assert found["felix_cluster_num_tiers"] == 1
    assert found["calico_openstack_felix_refused_documents"] == 1
    assert found["felix_calc_graph_updates_processed{type=WorkloadEndpoint}"] == 3


@pytest.mark.conformance("P23")
def test_the_index_of_labels_tells_how_many_selectors_there_are_and_how_often_they_were_asked(
    running: Running,
) -> None:
    def scraped() -> list[float]:
        found = samples(exposition(running, now=101.0))
        selectors = (f"num_active_selectors{{optimized={word}}}" for word in ("true", "false"))
        evaluations = (f"selector_evals{{result={word}}}" for word in ("true", "false"))
        return [found[f"felix_label_index_{name}"] for name in ("num_endpoints", *selectors, *evaluations)]

    def tell(*written: tuple[str, bytes | None]) -> None:
        running.store.take(Event(path, content, 1) for path, content in written)
        running.store.news()

    ports = [port(PORT.replace("0001", f"000{n}"), f"10.65.0.{n}/32", groups=(WEB,), host=HOST) for n in (1, 2)]
    tell(*ports, port(PORT.replace("0001", "0003"), "10.65.0.3/32", host=HOST))
    assert scraped() == [3, 0, 0, 0, 0]

    selectors = ("all()", f"has({sg_label(WEB)})")
    rules = [{"action": "Allow", "source": {"selector": selector}} for selector in selectors]
    path, content = document("GlobalNetworkPolicy", "p", "", {"selector": "all()", "ingress": rules})
    tell((path, content))
    # `all()` is asked about each of the three; the other about the two that have the label.
    assert scraped() == [3, 1, 1, 5, 0]

    # One without labels of groups: only `all()` is asked.
    tell(port(PORT.replace("0001", "0004"), "10.65.0.4/32", host=HOST))
    assert scraped() == [4, 1, 1, 6, 0]

    tell((path, None), (ports[0][0], None))
    assert scraped() == [3, 0, 0, 6, 0]


def test_names_are_upstreams_or_carry_our_prefix_and_each_is_explained(running: Running) -> None:
    body = exposition(running, now=101.0).decode()

    for family in text_string_to_metric_families(body):
        assert re.match("felix_|calico_openstack_felix_", family.name), family.name
        assert family.documentation, family.name


def test_figures_of_the_process_can_be_switched_on(running: Running) -> None:
    running.settings = FelixSettings(HOST)

    found = samples(exposition(running, now=101.0))

    assert found["process_open_fds"] > 0
    assert any(name.startswith("python_info") for name in found)


def test_a_timing_counts_what_lies_on_a_bound_below_it() -> None:
    timing = Timing()
    for seconds in (0.001, 0.0011, 11.0):
        timing.observe(seconds)

    counts = dict(timing.cumulative())
    assert (counts["0.001"], counts["0.002"], counts["10.0"], counts["+Inf"]) == (1, 2, 2, 3)


def asked(settings: FelixSettings, *questions: bytes) -> list[bytes]:
    """The answers of a server whose exposition counts how often it was made."""
    made = iter(range(100))

    async def run() -> list[bytes]:
        server = await MetricsServer(lambda: b"made %d\n" % next(made)).start(settings)
        answers = []
        for question in questions:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            writer.write(question)
            answers.append(await reader.read())
            writer.close()
        await server.close()
        return answers

    return asyncio.run(run())


def test_only_metrics_is_served_and_asking_often_makes_no_work() -> None:
    settings = FelixSettings(HOST, prometheus_metrics_host="127.0.0.1", prometheus_metrics_port=0)
    get = b"GET %s HTTP/1.1\r\nHost: here\r\n\r\n"

    first, second, other, rubbish = asked(
        settings, get % b"/metrics", get % b"/metrics", get % b"/", b"rubbish\r\n\r\n"
    )

    assert first.startswith(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4")
    assert first.endswith(b"\r\n\r\nmade 0\n")
    assert second == first
    assert b" 404 " in other
    assert b" 404 " in rubbish


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ({"cert": "/c"}, "PrometheusMetricsKeyFile"),
        ({"ca": "/a"}, "PrometheusMetricsCertFile"),
        ({"cert": "/c", "key": "/k"}, "PrometheusMetricsCAFile"),
    ],
)
def test_half_of_a_tls_configuration_is_never_served_in_clear_text(files: dict[str, str], missing: str) -> None:
    named = {f"prometheus_metrics_{name}_file": path for name, path in files.items()}

    with pytest.raises(ValueError, match=missing):
        tls_context(FelixSettings(HOST, **named))  # type: ignore[arg-type]
