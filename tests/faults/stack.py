"""The local stack with a network that can fail between Flink and its broker, and faults to inflict on its processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from grocery.stack import Stack, keeper, state
from grocery.stack.config import HOST, Program
from grocery.stack.ports import free_ports

FLINK = ("jobmanager", "taskmanager")


class FaultyStack(Stack):
    """Its broker tells a second address to those who ask at a second port: that of the proxy in front of that port.

    network_port: the proxy's, behind_port: the broker's second one.
    """

    def __init__(self, home: Path, logs: Path, network_port: int, behind_port: int) -> None:
        super().__init__(home, logs)
        self.network_port, self.behind_port = network_port, behind_port

    @classmethod
    def in_folder(cls, folder: Path) -> FaultyStack:
        return cls(folder / "stack", folder / "logs", *free_ports(2))

    def _configure(self, *given: object) -> None:
        super()._configure(*given)
        ports = state.read(self.home).ports
        own, controller = f"PLAINTEXT://{HOST}:{ports['kafka']}", f"CONTROLLER://{HOST}:{ports['controller']}"
        properties = self.home / "broker" / "server.properties"
        # Of a key that stands twice the last one counts.
        properties.write_text(
            properties.read_text()
            + f"listeners={own},FLINK://{HOST}:{self.behind_port},{controller}\n"
            + f"advertised.listeners={own},FLINK://{HOST}:{self.network_port}\n"
            + "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,FLINK:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
            + "inter.broker.listener.name=PLAINTEXT\n"
        )

    def _programs(self, *given: object) -> list[Program]:
        """With a keeper that starts this stack anew, and not a plain one."""
        own = [sys.executable, "-m", "tests.faults.stack", str(self.home), str(self.logs)]
        own += [str(self.network_port), str(self.behind_port)]
        return [replace(item, command=own) if item.name == "keeper" else item for item in super()._programs(*given)]

    @property
    def address(self) -> str:
        """Bootstrap servers for everybody but Flink; the same for good, whether the broker is up or not."""
        return f"{HOST}:{self._ports()['kafka']}"

    @property
    def rest(self) -> str:
        """Flink's REST API, whether it is up or not."""
        return f"http://{HOST}:{self._ports()['rest']}"

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Flink can write no checkpoint: every write to a file fails, as on a disk that is full.

        RLIMIT_FSIZE of the running processes, which their user may lower and, up to the hard limit, raise again: a file
        can still be made, and its first byte is refused (EFBIG, where a full disk says ENOSPC: the same IOException).
        What was written before can be read. Their other files are logs, which go through supervisord.
        """
        before = []
        for name in FLINK:
            for process in self._tree(name):
                before.append((process, process.rlimit(psutil.RLIMIT_FSIZE)))
                process.rlimit(psutil.RLIMIT_FSIZE, (0, before[-1][1][1]))
        try:
            yield
        finally:
            for process, limits in reversed(before):
                if process.is_running():
                    process.rlimit(psutil.RLIMIT_FSIZE, limits)

    def _tree(self, name: str) -> list[psutil.Process]:
        root = psutil.Process(self.pid(name))
        return [root, *root.children(recursive=True)]


class FlinksView:
    """The stack as a job is submitted to it: its broker lies behind the network."""

    def __init__(self, stack: FaultyStack) -> None:
        self.kafka = f"{HOST}:{stack.network_port}"
        self.submit = stack.submit


if __name__ == "__main__":
    keeper.keep(FaultyStack(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
