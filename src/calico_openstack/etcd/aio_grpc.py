"""gRPC for the asyncio skin: channels made on first use, in the running loop."""

# ruff: noqa: ASYNC109 - `timeout` is etcd's deadline, spent over several attempts, not a scope of cancellation.

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

from calico_openstack.etcd import channels, wire
from calico_openstack.etcd.steps import Call, Open, RpcFault
from calico_openstack.etcd.values import EtcdSettings
from calico_openstack.etcd.wire import Message, Method


class GrpcAioTransport:
    def __init__(self, settings: EtcdSettings) -> None:
        for endpoint in settings.endpoints:
            channels.target(settings, endpoint)
        self._settings = settings
        self._channels: dict[str, Any] = {}
        self._stubs: dict[tuple[str, str], Any] = {}
        self._stamp = channels.stamp(settings)

    async def call(self, call: Call) -> Message:
        stub = self._stub(call.endpoint, call.method)
        options = {"metadata": channels.metadata(call.token), "timeout": call.timeout}
        try:
            if not call.method.streaming:
                return await stub(call.request, **options)
            answers = stub(iter((call.request,)), **options)
            try:
                answer = await answers.read()
            finally:
                answers.cancel()
        except grpc.RpcError as error:
            fault = _fault(error)
            if fault.code == "UNAVAILABLE":
                self._renew()
            raise fault from error
        if answer is grpc.aio.EOF:
            raise RpcFault("UNAVAILABLE", "the stream ended without an answer")
        return answer

    async def open(self, request: Open) -> GrpcAioStream:
        self._renew()
        stub = self._stub(request.endpoint, wire.WATCH)
        call = stub(metadata=channels.metadata(request.token))
        try:
            for message in request.requests:
                await call.write(message)
        except grpc.RpcError as error:
            raise _fault(error) from error
        except asyncio.InvalidStateError as error:
            raise RpcFault("UNAVAILABLE", f"the stream ended at once: {error}") from error
        except BaseException:
            call.cancel()
            raise
        return GrpcAioStream(call)

    async def close(self) -> None:
        connected, self._channels = self._channels, {}
        self._stubs.clear()
        for channel in connected.values():
            await channel.close()

    def _renew(self) -> None:
        """Connect anew from now on if a certificate was renewed; calls under way keep their old channel."""
        stamp = channels.stamp(self._settings)
        if stamp != self._stamp:
            self._stamp = stamp
            self._channels = {}
            self._stubs.clear()

    def _stub(self, endpoint: str, method: Method) -> Any:
        stub = self._stubs.get((endpoint, method.path))
        if stub is None:
            channel = self._channel(endpoint)
            kind = channel.stream_stream if method.streaming else channel.unary_unary
            stub = kind(method.path, request_serializer=method.serialize, response_deserializer=method.parse)
            self._stubs[endpoint, method.path] = stub
        return stub

    def _channel(self, endpoint: str) -> Any:
        channel = self._channels.get(endpoint)
        if channel is None:
            address, tls = channels.target(self._settings, endpoint)
            if tls:
                try:
                    secrets = channels.credentials(self._settings)
                except OSError as error:
                    raise RpcFault("UNAVAILABLE", f"TLS file: {error}") from error
                channel = grpc.aio.secure_channel(address, secrets, channels.OPTIONS)
            else:
                channel = grpc.aio.insecure_channel(address, channels.OPTIONS)
            self._channels[endpoint] = channel
        return channel


class GrpcAioStream:
    def __init__(self, call: Any) -> None:
        self._call = call

    async def receive(self, timeout: float | None) -> Message:
        try:
            async with asyncio.timeout(timeout):
                message = await self._call.read()
        except TimeoutError as error:
            raise RpcFault("DEADLINE_EXCEEDED", f"no message within {timeout:g} s") from error
        except grpc.RpcError as error:
            raise _fault(error) from error
        except asyncio.InvalidStateError as error:
            raise RpcFault("UNAVAILABLE", str(error)) from error
        if message is grpc.aio.EOF:
            raise RpcFault("UNAVAILABLE", "the server ended the stream")
        return message

    def cancel(self) -> None:
        self._call.cancel()


def _fault(error: Any) -> RpcFault:
    return RpcFault(error.code().name, error.details() or "")
