# Makes this checkout ready to run: Debian packages and a private virtual environment. Sourced by ./demo, ./test and .ci/run.
#
# Promises: needs only bash, apt and root on Debian 12 or Ubuntu 24.04; installs what is missing and nothing else; shows what it
# is doing and for how long; is done in a blink when nothing is missing; never starts a service on the host (packages that
# bring a daemon are installed with their start-up denied); leaves the system's Python alone.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
UV_VERSION=0.13.8
LOGS="${TMPDIR:-/tmp}/calico-openstack-setup.$(id -u)"

# Package : why.
#   bird2 etcd-server etcd-client dnsmasq-base nftables mariadb-server : the real parts beside our own
#   iproute2 procps conntrack iputils-* tcpdump udhcpc isc-dhcp-client ndisc6 : hosts, guests and probes of the sandbox and the tests
#   iptables ipset : what upstream's Felix leaves on a host, and other users of packet filters, in the tests
#   python3-venv make openssl ca-certificates : this script, the Makefile, certificates of the tests
PACKAGES=(
    bird2 ca-certificates conntrack dnsmasq-base etcd-client etcd-server iproute2 ipset iptables iputils-arping
    iputils-ping isc-dhcp-client make mariadb-server ndisc6 nftables openssl procps python3 python3-venv udhcpc
)

say() { printf '%s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# step "what" command...: run quietly into a log, with a clock that moves on a terminal; show the log's end on failure.
step() {
    local what=$1 log started pid status
    shift
    mkdir -p "$LOGS"
    log="$LOGS/$(printf '%s' "$what" | tr -c 'A-Za-z0-9\n' '-').log"
    started=$SECONDS
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
    if [ -t 1 ]; then
        while kill -0 "$pid" 2>/dev/null; do
            printf '\r  %-58s %4ds ' "$what ..." $((SECONDS - started))
            sleep 0.5
        done
    else
        printf '  %s ...\n' "$what"
    fi
    wait "$pid" && status=0 || status=$?
    trap - INT TERM
    if [ "$status" -ne 0 ]; then
        printf '\r  %-58s failed (exit %d)\n' "$what" "$status"
        tail -n 25 "$log" | sed 's/^/    | /' >&2
        fail "$what failed; the whole log is $log"
    fi
    printf '\r  %-58s done in %ds\n' "$what" $((SECONDS - started))
}

check_system() {
    [ "$(id -u)" -eq 0 ] || fail "this makes network namespaces and installs packages, so it needs root: run it with sudo"
    command -v apt-get >/dev/null || fail "no apt-get here: Debian 12 or Ubuntu 24.04 is needed"
}

missing_packages() {
    local package state
    for package in "${PACKAGES[@]}"; do
        state="$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)"
        [ "$state" = installed ] || printf '%s ' "$package"
    done
}

apt_install() {
    # A daemon that a package brings must not start on this host: the sandbox runs its own, inside namespaces.
    local policy=/usr/sbin/policy-rc.d made=no status=0
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made=yes
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" || status=$?
    [ "$made" = no ] || rm -f "$policy"
    return "$status"
}

install_packages() {
    local missing
    missing="$(missing_packages)"
    [ -n "$missing" ] || return 0
    say "  missing Debian packages: $missing"
    step "read the package lists" apt-get update
    # shellcheck disable=SC2086  # a list of words is meant
    step "install Debian packages" apt_install $missing
}

environment_stamp() {
    { /usr/bin/python3 --version; printf 'uv %s %s\n' "$UV_VERSION" "$ROOT"; cat "$ROOT/requirements/lock.txt" "$ROOT/pyproject.toml"; } | sha256sum | cut -c1-64
}

install_environment() {
    local stamp
    stamp="$(environment_stamp)"
    [ "$(cat "$VENV/.stamp" 2>/dev/null)" = "$stamp" ] && [ -x "$VENV/bin/calico-openstack" ] && return 0
    /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or newer is needed, $(/usr/bin/python3 --version) is installed"
    [ -x "$VENV/bin/python" ] || step "make the virtual environment" /usr/bin/python3 -m venv --clear "$VENV"
    [ "$("$VENV/bin/uv" --version 2>/dev/null | cut -d' ' -f2)" = "$UV_VERSION" ] || step "install uv $UV_VERSION" "$VENV/bin/python" -m pip install --quiet "uv==$UV_VERSION"
    step "install pinned Python packages" "$VENV/bin/uv" pip install --python "$VENV/bin/python" --require-hashes -r "$ROOT/requirements/lock.txt"
    step "install calico-openstack" "$VENV/bin/uv" pip install --python "$VENV/bin/python" --no-deps --editable "$ROOT"
    printf '%s' "$stamp" >"$VENV/.stamp"
}

bootstrap() {
    check_system
    install_packages
    install_environment
}
