"""What a running Felix tells Prometheus.

Names that begin with `felix_` mean what they mean at upstream; what upstream has not begins with
`calico_openstack_felix_`. Upstream's counters lack the ending `_total`, which the library insists on, so they are
exposed as untyped. All figures are read when somebody asks; nothing here is on the way of a packet or of a change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import GC_COLLECTOR, CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from calico_openstack.daemon import logs
from calico_openstack.felix.dataplane import Dataplane
from calico_openstack.felix.running import Running
from calico_openstack.felix.timing import Timing

OURS = "calico_openstack_felix_"


class Figures(Collector):
    """Everything about Felix itself, at the instant `clock` (monotonic seconds, as in `running`)."""

    def __init__(self, running: Running, now: float) -> None:
        self._running = running
        self._now = now

    def collect(self) -> Iterable[Metric]:
        running = self._running
        yield _labelled("felix_host", "Always 1; the name of this host", "host", {running.settings.felix_hostname: 1})
        yield from _cluster(running)
        yield from _state(running, self._now)
        if running.dataplane is not None:
            yield from _dataplane(running, running.dataplane, self._now)
        yield from _logs()


def exposition(running: Running, now: float) -> bytes:
    """The whole answer to a scrape, in the text format of Prometheus."""
    settings = running.settings
    registry = CollectorRegistry()
    registry.register(Figures(running, now))
    if settings.prometheus_process_metrics_enabled:
        ProcessCollector(registry=registry)
    if settings.prometheus_go_metrics_enabled:
        PlatformCollector(registry=registry)
        registry.register(GC_COLLECTOR)
    return generate_latest(registry)


def _cluster(running: Running) -> Iterator[Metric]:
    census = running.store.census
    for name, what, count in (
        ("hosts", "Hosts with at least one workload endpoint", census.hosts),
        ("host_endpoints", "Host endpoints", census.count("HostEndpoint")),
        ("policies", "Policies, without staged ones", census.count("NetworkPolicy", "GlobalNetworkPolicy")),
        ("profiles", "Profiles", census.count("Profile")),
        ("tiers", "Tiers", census.count("Tier")),
        ("workload_endpoints", "Workload endpoints", census.count("WorkloadEndpoint")),
    ):
        yield _gauge(f"felix_cluster_num_{name}", f"{what} in the cluster", count)
    taken = Counter(running.store.taken)
    yield _untyped("felix_calc_graph_updates_processed", "Changed documents taken in", taken, "type")
    yield _untyped("felix_calc_graph_output_events", "Objects told to the dataplane", running.outputs)
    yield _histogram("felix_calc_graph_update_time_seconds", "Taking in a slice of changes", running.store.take_time)
    index = running.store.graph.index_figures()
    yield _gauge("felix_label_index_num_endpoints", "Endpoints and network sets that selectors can match", index.items)
    selectors = {"true": index.hung, "false": index.unhung}
    name, what = "felix_label_index_num_active_selectors", "Selectors of rules; optimized: not asked about everybody"
    yield _labelled(name, what, "optimized", selectors)
    asked = {"true": index.met, "false": index.asked_in_vain}
    yield _untyped("felix_label_index_selector_evals", "Questions whether a selector matches", asked, "result")


def _state(running: Running, now: float) -> Iterator[Metric]:
    following = running.mirror is not None and running.mirror.healthy
    state = 1 if running.snapshots == 0 and not following else 2 if running.snapshots == 0 else 3
    yield _gauge("felix_resync_state", "Datastore: 1 waits for it, 2 takes in all of it, 3 in sync", state)
    yield _untyped("felix_resyncs_started", "Whole snapshots of the datastore taken in", running.snapshots)
    yield _histogram("felix_int_dataplane_apply_time_seconds", "One step that had something to do", running.apply_time)
    yield _untyped("felix_int_dataplane_failures", "Steps with a failure that is tried again", running.failed_steps)
    up = sum(running.statuses.values())
    down = len(running.statuses) - up
    yield _labelled(f"{OURS}endpoints", "Local endpoints as reported", "status", {"up": up, "down": down})
    yield _gauge(f"{OURS}absent_endpoints", "Local endpoints that are not programmed at all", len(running.absences))
    yield _gauge(f"{OURS}refused_documents", "Documents that cannot be used", len(running.store.complaints))
    yield _gauge(f"{OURS}following_etcd", "1 while changes in etcd are followed", int(following))
    yield _gauge(f"{OURS}datastore_ready", "0: told to write nothing", int(running.store.not_ready is None))
    yield _gauge(f"{OURS}live", "1 if /liveness is good", int(running.health.live))
    yield _gauge(f"{OURS}ready", "1 if /readiness is good", int(running.health.ready))
    yield _gauge(f"{OURS}last_step_age_seconds", "Since the last step of the dataplane", now - running.last_step)
    if running.first_apply is not None:
        yield _gauge(f"{OURS}first_step_seconds", "From the start to the end of the first step", running.first_apply)
    yield _counter(f"{OURS}operations", "Single operations done on the kernel", "target", running.totals)


def _dataplane(running: Running, dataplane: Dataplane, now: float) -> Iterator[Metric]:
    wanted, taps, tables = dataplane.wanted, dataplane.taps, dataplane.firewall.tables
    yield _gauge("felix_active_local_endpoints", "Endpoints of this host that are programmed", len(wanted.endpoints))
    yield _gauge("felix_active_local_policies", "Policies that apply to an endpoint here", len(wanted.policies))
    yield _gauge("felix_active_local_selectors", "Sets that rules of these policies use", len(wanted.sets))
    routes = Counter(str(key.destination.version) for key in list(taps.routes))
    yield _labelled("felix_route_table_num_routes", "Routes of guests", "ip_version", {"4": 0, "6": 0} | routes)
    yield _gauge("felix_route_table_num_ifaces", "Interfaces of guests that carry", len(taps.programmed))
    yield _untyped("felix_nft_calls", "Transactions sent to nf_tables", tables.transactions)
    yield _untyped("felix_nft_errors", "Transactions that nf_tables refused", tables.refusals)
    yield _untyped("felix_nft_list_calls", "Read-backs of our tables", tables.readings)
    yield _untyped("felix_nft_list_errors", "Read-backs that failed", tables.failed_readings)
    obstacles = len(dataplane.surroundings.obstacles)
    yield _gauge(f"{OURS}obstacles", "Chains of other software that stop guests", obstacles)
    shared = dataplane.crowding.tables
    for figure, what in (
        ("entries", "Entries of the kernel's tables that guests share"),
        ("limit", "Their limits"),
        ("overflows", "Entries that found no room, of the machine since its start"),
    ):
        sizes = {name: getattr(table, figure) for name, table in shared.items()}
        yield _labelled(f"{OURS}kernel_table_{figure}", what, "table", sizes)
    yield from _nftables(dataplane)
    pending, oldest = {}, 0.0
    for kind, ledger in dataplane.ledgers().items():
        failures = [failure for _, failure in ledger]
        pending[kind] = len(failures)
        oldest = max([oldest, *(now - failure.since for failure in failures)])
    yield _labelled(f"{OURS}pending", "What failed and waits for its next try", "kind", pending)
    yield _gauge(f"{OURS}pending_oldest_seconds", "Since when the oldest of them fails; 0 if none does", oldest)


def _nftables(dataplane: Dataplane) -> Iterator[Metric]:
    chains, rules, sets, maps = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for table, content in dict(dataplane.firewall.rendered).items():
        for chain in list(content.chains.values()):
            chains[table.family] += 1
            rules[table.family] += len(chain.rules)
        for named in list(content.sets.values()):
            (sets if named.spec.value is None else maps)[table.family] += 1
    for name, counts in (("chains", chains), ("rules", rules), ("sets", sets), ("maps", maps)):
        yield _labelled(f"felix_nft_{name}", f"{name.capitalize()} in our table", "family", counts)


def _logs() -> Iterator[Metric]:
    written = logs.written()
    if written is not None:
        yield _untyped("felix_log_errors", "Log lines that could not be written", written.errors)
        yield _counter(f"{OURS}log_lines", "Log lines", "level", dict(written.lines))


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=value)


def _labelled(name: str, what: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, what, labels=[label])
    for text, value in values.items():
        family.add_metric([text], value)
    return family


def _counter(name: str, what: str, label: str, values: Mapping[str, float]) -> Metric:
    """One of ours; the library adds `_total`."""
    family = CounterMetricFamily(name, what, labels=[label])
    for text, value in values.items():
        family.add_metric([text], value)
    return family


def _untyped(name: str, what: str, value: float | Mapping[str, float], label: str = "") -> Metric:
    """A counter of upstream's, under upstream's name."""
    family = Metric(name, what, "unknown")
    if isinstance(value, Mapping):
        for text, number in value.items():
            family.add_sample(name, {label: text}, number)
    else:
        family.add_sample(name, {}, value)
    return family


def _histogram(name: str, what: str, timing: Timing) -> Metric:
    return HistogramMetricFamily(name, f"{what}, in seconds", list(timing.cumulative()), timing.total)
