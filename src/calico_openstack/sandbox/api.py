"""Keystone and Neutron spoken to with plain HTTP, from inside the controller's namespace.

Not openstacksdk: its import alone takes longer than booting a guest here. Calls raise `ApiError`, which carries the
status and Neutron's own words. A token is fetched when needed and again when it is refused.
"""

import http.client
import json
import threading
import time
from typing import Any
from urllib.parse import urlencode

from calico_openstack.sandbox import layout as at
from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.namespaces import NamespaceConnection
from calico_openstack.sandbox.state import SandboxError

Json = dict[str, Any]


class ApiError(SandboxError):
    """The API said no."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text}")
        self.status = status


def _call(
    namespace: str, port: int, method: str, path: str, body: Json | None, headers: dict[str, str]
) -> tuple[int, Any, str]:
    """One request; status, decoded body and token header.

    Asks again when the server hung up without an answer, if that is safe.
    """
    payload = json.dumps(body) if body is not None else None
    for attempt in range(4):
        connection = NamespaceConnection(namespace, at.CONTROLLER, port, timeout=60.0)
        try:
            connection.request(method, path, payload, {"Content-Type": "application/json", **headers})
            response = connection.getresponse()
            text = response.read()
            status = response.status
        except (http.client.HTTPException, ConnectionError):
            # uWSGI's plain socket sometimes closes right after a 204; see "Failure modes" in
            # docs/design/sandbox.md.
            if method in ("POST",) or attempt == 3:
                raise
            time.sleep(0.1)
            continue
        finally:
            connection.close()
        token = response.headers.get("X-Subject-Token", "")
        try:
            return status, json.loads(text) if text else {}, token
        except json.JSONDecodeError:
            return status, text.decode(errors="replace"), token
    raise AssertionError("unreachable")


class Identity:
    """Tokens of one user, in one project, from Keystone."""

    def __init__(self, layout: Layout, password: str, user: str = "admin", project: str = "admin") -> None:
        self._namespace = layout.namespace("ctl")
        self._password = password
        self._user = user
        self._project = project
        self._token = ""
        self._lock = threading.Lock()

    def headers(self, refused: str = "") -> dict[str, str]:
        """Headers with a token; a new one when `refused` is the one we have."""
        with self._lock:
            if not self._token or self._token == refused:
                self._token = self._fetch()
            return {"X-Auth-Token": self._token}

    def _fetch(self) -> str:
        user = {"name": self._user, "domain": {"id": "default"}, "password": self._password}
        scope = {"project": {"name": self._project, "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        status, answer, token = _call(self._namespace, at.KEYSTONE_PORT, "POST", "/v3/auth/tokens", body, {})
        if status != 201:
            raise ApiError(status, f"Keystone gave no token: {answer}")
        return token


class Nobody:
    """noauth: no token is asked for."""

    def headers(self, refused: str = "") -> dict[str, str]:
        return {}


class Api:
    """JSON calls to one service."""

    def __init__(self, layout: Layout, port: int, identity: Identity | Nobody) -> None:
        self._namespace = layout.namespace("ctl")
        self._port = port
        self._identity = identity

    def call(self, method: str, path: str, body: Json | None = None, accept: tuple[int, ...] = ()) -> Any:
        """The decoded answer. Raises ApiError for 400 and above, except the statuses in `accept`."""
        headers = self._identity.headers()
        status, answer, _ = _call(self._namespace, self._port, method, path, body, headers)
        if status == 401:
            headers = self._identity.headers(refused=headers.get("X-Auth-Token", ""))
            status, answer, _ = _call(self._namespace, self._port, method, path, body, headers)
        if status >= 400 and status not in accept:
            words = answer.get("NeutronError", answer) if isinstance(answer, dict) else answer
            words = words.get("message", words) if isinstance(words, dict) else words
            raise ApiError(status, f"{method} {path}: {words}")
        return answer


class Neutron(Api):
    """Neutron's resources by their plural names, as in the API reference."""

    def __init__(self, layout: Layout, identity: Identity | Nobody) -> None:
        super().__init__(layout, at.NEUTRON_PORT, identity)

    def create(self, plural: str, **fields: Any) -> Json:
        singular = _singular(plural)
        answer: Json = self.call("POST", f"/v2.0/{plural}", {singular: fields})[singular]
        return answer

    def update(self, plural: str, resource: str, **fields: Any) -> Json:
        singular = _singular(plural)
        answer: Json = self.call("PUT", f"/v2.0/{plural}/{resource}", {singular: fields})[singular]
        return answer

    def show(self, plural: str, resource: str, *fields: str) -> Json:
        query = "?" + urlencode([("fields", name) for name in fields]) if fields else ""
        answer: Json = self.call("GET", f"/v2.0/{plural}/{resource}{query}")[_singular(plural)]
        return answer

    def list(self, plural: str, **filters: str) -> list[Json]:
        query = "?" + urlencode(filters) if filters else ""
        answer: list[Json] = self.call("GET", f"/v2.0/{plural}{query}")[plural.replace("-", "_")]
        return answer

    def delete(self, plural: str, resource: str) -> None:
        """Deletes; harmless when it is gone already."""
        self.call("DELETE", f"/v2.0/{plural}/{resource}", accept=(404,))

    def named(self, plural: str, name: str) -> Json:
        """The only resource of that name. Raises SandboxError when there is none, or more than one."""
        found = self.list(plural, name=name)
        if len(found) != 1:
            raise SandboxError(f"{len(found)} {plural} are called {name!r}; exactly one was expected")
        return found[0]


def _singular(plural: str) -> str:
    irregular = {"policies": "policy"}
    return irregular.get(plural, plural.removesuffix("s")).replace("-", "_")


def seed_identity(layout: Layout, identity: Identity, neutron_password: str) -> None:
    """Neutron's service user with the roles it needs, and its place in the catalogue. Safe to repeat."""
    keystone = Api(layout, at.KEYSTONE_PORT, identity)

    def ensure(plural: str, query: str, **fields: Any) -> str:
        singular = plural.removesuffix("s")
        found = keystone.call("GET", f"/v3/{plural}?{query}")[plural]
        made = found[0] if found else keystone.call("POST", f"/v3/{plural}", {singular: fields})[singular]
        return str(made["id"])

    project = ensure("projects", "name=service", name="service", domain_id="default")
    user = ensure(
        "users",
        "name=neutron",
        name="neutron",
        domain_id="default",
        password=neutron_password,
        default_project_id=project,
    )
    for name in ("service", "admin"):
        role = ensure("roles", f"name={name}", name=name)
        keystone.call("PUT", f"/v3/projects/{project}/users/{user}/roles/{role}")
    service = ensure("services", "type=network", type="network", name="neutron")
    for interface in ("admin", "public", "internal"):
        ensure(
            "endpoints",
            urlencode({"service_id": service, "interface": interface}),
            service_id=service,
            interface=interface,
            region_id="RegionOne",
            url=layout.neutron_url,
        )
