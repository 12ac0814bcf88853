"""The network between Flink and its broker, as a program that can be told to fail.

A proxy for TCP. It knows one thing about Kafka's protocol: a request is four bytes of length and then its kind, so
that commits of transactions can be held back while all else passes.

Usage: python -m tests.faults.proxy PORT BROKER_PORT; then a mode a line on its input, each answered by itself.
It ends when its input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Self

HOST = "127.0.0.1"
END_TXN = 26
"""Kind of the request that commits or aborts a transaction (Kafka's protocol, EndTxn)."""
_CHUNK = 256 * 1024


class Mode(StrEnum):
    """PASS: a network that works. STALL: nothing arrives and nothing is refused, as when packets are lost. REFUSE:
    every connection is closed, and each new one. HOLD: requests to end a transaction do not arrive, all else does."""

    PASS = "pass"
    STALL = "stall"
    REFUSE = "refuse"
    HOLD = "hold"


class Proxy:
    """mode: as now. held: requests to end a transaction that were held back since the mode became HOLD."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._changed = asyncio.Condition()
        self._open: set[asyncio.StreamWriter] = set()
        self.mode = Mode.PASS
        self.held = 0

    async def listen(self, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._connect, HOST, port)

    async def turn(self, mode: Mode) -> None:
        async with self._changed:
            self.mode = mode
            if mode is Mode.HOLD:
                self.held = 0
            if mode is Mode.REFUSE:
                for writer in self._open:
                    writer.transport.abort()
            self._changed.notify_all()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode is Mode.REFUSE:
            writer.transport.abort()
            return
        try:
            there_reader, there = await asyncio.open_connection(HOST, self._broker_port)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, there}
        self._open |= both
        ways = (
            asyncio.create_task(self._requests(reader, there)),
            asyncio.create_task(self._answers(there_reader, writer)),
        )
        try:
            # When one side is gone, so is the other.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # the proxy ends
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._open -= both
            for end in both:
                end.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readexactly(4)
                request = await reader.readexactly(int.from_bytes(head, "big"))
                ends = int.from_bytes(request[:2], "big") == END_TXN
                if ends and self.mode is Mode.HOLD:
                    self.held += 1
                await self._until(lambda ends=ends: self.mode is Mode.PASS or (self.mode is Mode.HOLD and not ends))
                writer.write(head + request)
                await writer.drain()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                await self._until(lambda: self.mode in (Mode.PASS, Mode.HOLD))
                writer.write(chunk)
                await writer.drain()

    async def _until(self, free) -> None:  # noqa: ANN001
        if not free():
            async with self._changed:
                await self._changed.wait_for(free)


class Network:
    """A proxy in a process of its own, so that its work is nobody else's."""

    def __init__(self, port: int, broker_port: int) -> None:
        self.port = port
        self._command = [sys.executable, "-m", "tests.faults.proxy", str(port), str(broker_port)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self.turn(Mode.PASS)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=10)

    def turn(self, mode: Mode) -> int:
        """Change what the network does; returns how many requests had been held back."""
        self._process.stdin.write(mode + "\n")
        self._process.stdin.flush()
        return self._answer()

    def held(self) -> int:
        """Requests to end a transaction that are held back now."""
        self._process.stdin.write("held\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> int:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the proxy ended with code {self._process.wait()}")
        return int(line)


async def _serve(port: int, broker_port: int) -> None:
    proxy = Proxy(broker_port)
    loop = asyncio.get_running_loop()
    server = await proxy.listen(port)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        before = proxy.held
        if line.strip() != "held":
            await proxy.turn(Mode(line.strip()))
        print(before, flush=True)
    server.close()
    await proxy.turn(Mode.REFUSE)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
