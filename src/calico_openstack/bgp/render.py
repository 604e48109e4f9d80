"""From a `Speaker` to the text of one BIRD 2 configuration for both families.

PURE. The text is a function of the values alone, sorted and quoted, so that equal wishes give equal bytes and
BIRD, which compares protocol by protocol, touches only the sessions that changed. It keeps to what BIRD
2.0.12 and 3 both read.

What it guards against, learned the hard way:

- a kernel-learned route has preference 10 and BGP 100: a host would prefer another host's path to its own
  guest. Local guest routes get 150 (250 while elevated), elevated BGP routes 200;
- a kernel metric set per route leaves the old route behind when it changes (BIRD before 2.16, fixed by its
  commit 00b139bd2): the kernel metric is constant, the preference decides;
- the default netlink buffer overflows at a few thousand route changes: 16 MiB;
- next hops resolve over `direct` and over foreign kernel routes, which are read for that purpose and never
  told to anybody;
- nothing but host routes on guests' interfaces leaves this host as its own.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from calico_openstack.bgp.filters import PRIORITY_BASE, accept_rules, add_community, match_net
from calico_openstack.bgp.sessions import Session, Speaker

HEADER = "# Written by calico-bgp-agent from etcd; changes made by hand are overwritten."
SYMBOL_LIMIT = 64
"""BIRD: "Symbol too long" beyond this."""

# Never a route of a guest on another host: this network, loopback, link-local, multicast and above. The default route
# is not among them; a router may send it ("downward default").
_NEVER = {4: "0.0.0.0/8+, 127.0.0.0/8+, 169.254.0.0/16+, 224.0.0.0/3+", 6: "::/127+, fe80::/10+, ff00::/8+"}

_LOG_CLASSES = {
    "Debug": "all",
    "Info": "{ info, remote, warning, error, auth, fatal, bug }",
    "Warning": "{ warning, error, auth, fatal, bug }",
    "Error": "{ error, auth, fatal, bug }",
    "Fatal": "{ fatal, bug }",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What the host's settings file decides. Times in seconds; an interface pattern is a shell pattern.

    `restart_time` is how long peers keep our routes while BIRD is away; `restart_wait` how long a BIRD that
    came back waits for *all* peers before it speaks. One dead peer uses the whole of it up, so it is short.
    """

    guest_interfaces: tuple[str, ...] = ("tap*",)
    hold_time: int = 90
    restart_time: int = 120
    restart_wait: int = 20
    connect_delay: int = 1
    connect_retry: int = 5
    scan_time: int = 10
    import_limit: int = 200_000
    netlink_buffer: int = 16 * 1024 * 1024
    kernel_metric: int = 32
    kernel_table: int = 254
    log_to: str = "stderr"


def render(speaker: Speaker, options: Options) -> str:
    """The whole file. Every text inside has been through a whitelist, here or in `model.bgp`."""
    parts = [
        HEADER,
        f"log {_word(options.log_to)} {_LOG_CLASSES.get(speaker.log_severity, _LOG_CLASSES['Info'])};",
        f"router id {speaker.router_id};",
        f"debug protocols {'all' if speaker.log_severity == 'Debug' else '{ states }'};",
        f"graceful restart wait {options.restart_wait};",
        "",
        f"protocol device {{ scan time {options.scan_time}; }}",
        "protocol direct {\n  ipv4; ipv6;\n"
        f'  interface {_patterns((*options.guest_interfaces, *speaker.ignored_interfaces), "-")}, "*";\n}}',
        "",
    ]
    for version in (4, 6):
        parts += [_kernel(speaker, options, version), ""]
    parts += [static for version in (4, 6) if (static := _reachable(speaker, version))]
    for session in speaker.sessions:
        parts += [_session(speaker, session, options), ""]
    return "\n".join(parts).rstrip("\n") + "\n"


def session_names(text: str) -> tuple[str, ...]:
    """The names of the sessions in a file that `render` made."""
    return tuple(re.findall(r"^protocol bgp '([^']+)'", text, re.MULTILINE))


def redacted(text: str) -> str:
    """The text as it may be logged or shown: without passwords."""
    return re.sub(r'^(\s*password ").*(";)$', r"\1***\2", text, flags=re.MULTILINE)


def digest(text: str) -> str:
    """A short name of a configuration, for the status. Made without the passwords, so that it can give none away."""
    return hashlib.sha256(redacted(text).encode()).hexdigest()[:16]


def symbol(name: str) -> str:
    """`name` as a quoted BIRD symbol; a longer one is cut and keeps a hash.

    Quotes do not make a keyword harmless (`'base'` is a syntax error in 2.0.12); session names begin with `Mesh_`,
    `Global_` or `Node_`, which no keyword does.
    """
    clean = re.sub(r"[^A-Za-z0-9_.:-]", "_", name)
    if len(clean) > SYMBOL_LIMIT:
        clean = f"{clean[: SYMBOL_LIMIT - 13]}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return f"'{clean}'"


def _kernel(speaker: Speaker, options: Options, version: int) -> str:
    width = 32 if version == 4 else 128
    guests = _on_guest_interface(options)
    metric = speaker.priorities[0 if version == 4 else 1]
    table = "" if options.kernel_table == 254 else f"  kernel table {options.kernel_table};\n"
    return f"""\
filter 'kernel_in_v{version}' {{
  # Everything that is not a guest's serves only to resolve next hops.
  if !{guests} then accept;
  if net.len != {width} then reject;
  if krt_metric < {metric} then preference = 250; else preference = 150;
  accept;
}}
filter 'kernel_out_v{version}' {{
  if source = RTS_BGP || source = RTS_STATIC then accept;
  reject;
}}
protocol kernel 'kernel_v{version}' {{
{table}  learn; persist; scan time {options.scan_time}; metric {options.kernel_metric}; merge paths on;
  graceful restart; netlink rx buffer {options.netlink_buffer};
  ipv{version} {{ import filter 'kernel_in_v{version}'; export filter 'kernel_out_v{version}'; }};
}}"""


def _reachable(speaker: Speaker, version: int) -> str:
    """A route to each peer that is behind a gateway of its own."""
    routes = sorted(
        {
            f"  route {session.address} via {session.reachable_by.address};\n"
            for session in speaker.sessions
            if session.reachable_by is not None and session.version == version
        }
    )
    if not routes:
        return ""
    return f"protocol static 'reachable_v{version}' {{\n  ipv{version};\n{''.join(routes)}}}\n"


def _session(speaker: Speaker, session: Session, options: Options) -> str:
    source = f" {session.source.address}" if session.source is not None else ""
    lines = [
        f"local{source} port {session.local_port} as {session.local_as};",
        f"neighbor {session.address.address} port {session.peer_port} as {session.remote_as};",
    ]
    lines += [f"multihop {session.hops};", "ttl security on;"] if session.hops else ["multihop;"]
    if session.strict_bind:
        lines.append("strict bind on;")
    if session.passive:
        lines.append("passive;")
    if session.password is not None:
        lines.append(f'password "{session.password}";')
    lines += [
        "graceful restart;",
        f"graceful restart time {session.restart_time or options.restart_time};",
        f"hold time {options.hold_time};",
        f"connect delay time {options.connect_delay}; connect retry time {options.connect_retry};",
        "error wait time 1,30;",
    ]
    if session.keepalive_time is not None:
        lines.append(f"keepalive time {session.keepalive_time};")
    if session.cluster_id is not None:
        lines += ["rr client;", f"rr cluster id {session.cluster_id};"]
    if session.allowed_local_as:
        lines.append(f"allow local as {session.allowed_local_as};")
    channel = [
        _import_filter(speaker, session),
        _export_filter(speaker, session, options),
        "add paths on; gateway recursive;",
        f"import limit {options.import_limit} action block;",
    ]
    if session.next_hop:
        channel.append(f"next hop {session.next_hop};")
    body = "\n".join(f"  {line}" for line in lines)
    inner = "\n".join(f"    {line}" for part in channel for line in part.split("\n"))
    return f"protocol bgp {symbol(session.name)} {{\n{body}\n  ipv{session.version} {{\n{inner}\n  }};\n}}"


def _import_filter(speaker: Speaker, session: Session) -> str:
    version = session.version
    normal = PRIORITY_BASE - speaker.priorities[0 if version == 4 else 1]
    # LOCAL_PREF means something only inside one AS (RFC 4271, 5.1.5); of an external peer it is just the default.
    finish = f"if bgp_local_pref > {normal} then preference = 200;"
    rules = [line for bgp_filter in session.filters for line in accept_rules(bgp_filter, "import", session, finish)]
    body = [
        f"if net ~ [ {_NEVER[version]} ] then reject;",
        *rules,
        finish,
        "accept;",
    ]
    return "import filter {\n" + "\n".join(f"  {line}" for line in body) + "\n};"


def _export_filter(speaker: Speaker, session: Session, options: Options) -> str:
    version = session.version
    width = 32 if version == 4 else 128
    local = f"source = RTS_INHERIT && net.len = {width} && {_on_guest_interface(options)}"
    body = [
        # What is neither a guest's nor learned by BGP is nobody's business, whatever a BGPFilter says.
        f"if !(({local}) || source = RTS_BGP) then reject;",
        f"if source = RTS_INHERIT then bgp_local_pref = {PRIORITY_BASE} - krt_metric;",
    ]
    for advertisement in sorted(speaker.advertisements):
        if advertisement.cidr.version == version:
            marks = " ".join(add_community(community) for community in advertisement.communities)
            body.append(f"if {match_net(advertisement.cidr)} then {{ {marks} }}")
    body += [line for bgp_filter in session.filters for line in accept_rules(bgp_filter, "export", session, "")]
    if not speaker.reflector:
        body.append("if source = RTS_BGP then reject;")
    body.append("accept;")
    return "export filter {\n" + "\n".join(f"  {line}" for line in body) + "\n};"


def _on_guest_interface(options: Options) -> str:
    matches = " || ".join(f'ifname ~ "{_pattern(item)}"' for item in options.guest_interfaces)
    return f"({matches})"


def _patterns(patterns: tuple[str, ...], sign: str) -> str:
    return ", ".join(f'{sign}"{_pattern(item)}"' for item in dict.fromkeys(patterns))


def _pattern(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._*-]{1,15}", text):
        raise ValueError(f"{text!r} is not an interface pattern")
    return text


def _word(text: str) -> str:
    if text not in ("stderr", "syslog"):
        raise ValueError(f"{text!r} is not a place for BIRD's log; expected stderr or syslog")
    return text
