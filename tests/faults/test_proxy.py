"""The network of `make faults`, between a client and a server that only echoes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from grocery.stack.ports import free_ports
from tests.faults.proxy import END_TXN, HOST, Mode, Network, Proxy

METADATA = 3


def request(kind: int, body: bytes = b"12345678") -> bytes:
    return (2 + len(body)).to_bytes(4, "big") + kind.to_bytes(2, "big") + body


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(1024):
            writer.write(chunk)
    writer.close()  # since Python 3.12 a server that ends waits for that


@asynccontextmanager
async def between() -> AsyncIterator[tuple[Proxy, int]]:
    behind, port = free_ports(2)
    async with await asyncio.start_server(echo, HOST, behind):
        proxy = Proxy(behind)
        async with await proxy.listen(port):
            yield proxy, port
            await proxy.turn(Mode.REFUSE)


async def answer(reader: asyncio.StreamReader, size: int, timeout_s: float = 5) -> bytes:
    return await asyncio.wait_for(reader.readexactly(size), timeout_s)


async def nothing_comes(reader: asyncio.StreamReader) -> None:
    with pytest.raises(TimeoutError):
        await answer(reader, 1, 0.2)


def test_a_network_that_works_carries_both_ways():
    async def story() -> None:
        async with between() as (_, port):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(request(METADATA) + request(END_TXN))
            both = request(METADATA) + request(END_TXN)
            assert await answer(reader, len(both)) == both

    asyncio.run(story())


def test_a_stalled_network_delivers_later_what_was_sent_meanwhile():
    async def story() -> None:
        async with between() as (proxy, port):
            reader, writer = await asyncio.open_connection(HOST, port)
            await proxy.turn(Mode.STALL)
            writer.write(request(METADATA))
            await nothing_comes(reader)
            await proxy.turn(Mode.PASS)
            assert await answer(reader, 14) == request(METADATA)

    asyncio.run(story())


def test_a_refusing_network_ends_what_is_connected_and_what_connects():
    async def story() -> None:
        async with between() as (proxy, port):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(request(METADATA))
            await answer(reader, 14)
            await proxy.turn(Mode.REFUSE)
            for _ in range(2):
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await answer(reader, 1)
                reader, writer = await asyncio.open_connection(HOST, port)

    asyncio.run(story())


def test_commits_are_held_back_and_counted_while_all_else_passes():
    async def story() -> None:
        async with between() as (proxy, port):
            await proxy.turn(Mode.HOLD)
            reader, writer = await asyncio.open_connection(HOST, port)
            other, other_writer = await asyncio.open_connection(HOST, port)
            writer.write(request(METADATA) + request(END_TXN))
            assert await answer(reader, 14) == request(METADATA)
            await nothing_comes(reader)
            other_writer.write(request(METADATA))
            assert await answer(other, 14) == request(METADATA)
            assert proxy.held == 1
            await proxy.turn(Mode.PASS)
            assert await answer(reader, 14) == request(END_TXN)

    asyncio.run(story())


def test_a_server_that_is_away_looks_away_through_the_proxy():
    async def story() -> None:
        nobody, port = free_ports(2)
        async with await Proxy(nobody).listen(port):
            reader, _ = await asyncio.open_connection(HOST, port)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await answer(reader, 1)

    asyncio.run(story())


def test_the_proxy_is_a_process_that_ends_with_its_user():
    async def story() -> None:
        behind, port = free_ports(2)
        async with await asyncio.start_server(echo, HOST, behind):
            with Network(port, behind) as network:
                reader, writer = await asyncio.open_connection(HOST, port)
                writer.write(request(METADATA))
                assert await answer(reader, 14) == request(METADATA)
                assert network.turn(Mode.HOLD) == 0
                assert network.held() == 0
                process = network._process
            assert process.returncode == 0

    asyncio.run(story())
