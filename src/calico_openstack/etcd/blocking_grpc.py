"""gRPC for the blocking skin: channels made on first use, one set per process id."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import grpc

from calico_openstack.etcd import channels, wire
from calico_openstack.etcd.steps import Call, Open, RpcFault
from calico_openstack.etcd.values import EtcdSettings
from calico_openstack.etcd.wire import Message, Method


class GrpcTransport:
    def __init__(self, settings: EtcdSettings) -> None:
        for endpoint in settings.endpoints:
            channels.target(settings, endpoint)
        self._settings = settings
        self._pool = _Pool(settings)

    def call(self, call: Call) -> Message:
        try:
            stub = self._stub(call.endpoint, call.method)
            options = {"metadata": channels.metadata(call.token), "timeout": call.timeout}
            if not call.method.streaming:
                return stub(call.request, **options)
            answers = stub(iter((call.request,)), **options)
            try:
                return next(answers)
            finally:
                answers.cancel()
        except grpc.RpcError as error:
            fault = _fault(error)
            if fault.code == "UNAVAILABLE":
                self._renew()
            raise fault from error
        except StopIteration as error:
            raise RpcFault("UNAVAILABLE", "the stream ended without an answer") from error

    def open(self, request: Open) -> GrpcStream:
        self._renew()
        stub = self._stub(request.endpoint, wire.WATCH)
        return GrpcStream(stub, request.requests, channels.metadata(request.token))

    def close(self) -> None:
        pool, self._pool = self._pool, _Pool(self._settings)
        pool.close()

    def _renew(self) -> None:
        """Connect anew from now on if a certificate was renewed; calls under way keep their old channel."""
        if self._pool.stamp != channels.stamp(self._settings):
            self._pool = _Pool(self._settings)

    def _stub(self, endpoint: str, method: Method) -> Any:
        pool = self._pool
        if pool.pid != os.getpid():
            # A child after a fork: the parent's channels, and a lock that may be held, are not ours.
            pool = self._pool = _Pool(self._settings)
        stub = pool.stubs.get((endpoint, method.path))
        return stub if stub is not None else pool.connect(endpoint, method)


class GrpcStream:
    def __init__(self, stub: Any, requests: tuple[Message, ...], metadata: tuple[tuple[str, str], ...]) -> None:
        self._ended = threading.Event()
        self._call = stub(self._outgoing(requests), metadata=metadata)

    def receive(self, timeout: float | None) -> Message:
        # gRPC's blocking iterator has no time-out, so a timer pulls the plug.
        timer = None
        if timeout is not None:
            timer = threading.Timer(timeout, self._call.cancel)
            timer.daemon = True
            timer.start()
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise _fault(error) from error
        except StopIteration as error:
            raise RpcFault("UNAVAILABLE", "the server ended the stream") from error
        finally:
            if timer is not None:
                timer.cancel()

    def cancel(self) -> None:
        self._ended.set()
        self._call.cancel()

    def _outgoing(self, requests: tuple[Message, ...]) -> Iterator[Message]:
        yield from requests
        # Ending the iterator would half-close the stream, and etcd ends a watch then.
        self._ended.wait()


class _Pool:
    def __init__(self, settings: EtcdSettings) -> None:
        self.pid = os.getpid()
        self.stamp = channels.stamp(settings)
        self._settings = settings
        self.stubs: dict[tuple[str, str], Any] = {}
        self._channels: dict[str, Any] = {}
        self._lock = threading.Lock()

    def connect(self, endpoint: str, method: Method) -> Any:
        with self._lock:
            channel = self._channels.get(endpoint)
            if channel is None:
                address, tls = channels.target(self._settings, endpoint)
                if tls:
                    try:
                        secrets = channels.credentials(self._settings)
                    except OSError as error:
                        raise RpcFault("UNAVAILABLE", f"TLS file: {error}") from error
                    channel = grpc.secure_channel(address, secrets, channels.OPTIONS)
                else:
                    channel = grpc.insecure_channel(address, channels.OPTIONS)
                self._channels[endpoint] = channel
            kind = channel.stream_stream if method.streaming else channel.unary_unary
            stub = kind(method.path, request_serializer=method.serialize, response_deserializer=method.parse)
            self.stubs[endpoint, method.path] = stub
            return stub

    def close(self) -> None:
        with self._lock:
            for channel in self._channels.values():
                channel.close()


def _fault(error: Any) -> RpcFault:
    return RpcFault(error.code().name, error.details() or "")
