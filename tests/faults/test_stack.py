"""The stack of `make faults` is the local stack but for its network and its keeper."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from grocery.stack import Stack, state
from tests.faults.stack import FaultyStack


@pytest.fixture
def stack(tmp_path, monkeypatch) -> FaultyStack:
    """Configured, and nothing started."""
    monkeypatch.setattr(Stack, "_format_broker", lambda *_: None)
    made = FaultyStack.in_folder(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("grocery.stack.local.launch", lambda *_: pytest.fail("nothing shall start"))
        made._configure(None, None, None, ("taskmanager",))
    return made


@pytest.fixture
def writer(tmp_path) -> Iterator[subprocess.Popen]:
    """A process that appends to a file whenever it is told to, and says whether it could."""
    code = (
        "import sys, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"for line in sys.stdin:\n"
        f"    try:\n"
        f"        with open({str(tmp_path / 'file')!r}, 'ab', buffering=0) as file: file.write(b'x')\n"
        f"        print('written')\n"
        f"    except OSError: print('refused')\n"
        f"    sys.stdout.flush()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()


def write(process: subprocess.Popen) -> str:
    process.stdin.write("now\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_flink_is_told_the_networks_address_and_everybody_else_the_brokers(stack):
    lines = (stack.home / "broker" / "server.properties").read_text().splitlines()
    last = dict(line.split("=", 1) for line in lines)
    kafka = state.read(stack.home).ports["kafka"]
    assert f"PLAINTEXT://127.0.0.1:{kafka},FLINK://127.0.0.1:{stack.behind_port}" in last["listeners"]
    assert last["advertised.listeners"].endswith(f"FLINK://127.0.0.1:{stack.network_port}")
    assert stack.address == f"127.0.0.1:{kafka}"


def test_its_keeper_starts_the_same_stack_anew(stack):
    conf = (stack.home / "supervisord.conf").read_text()
    assert f"-m tests.faults.stack {stack.home} {stack.logs} {stack.network_port} {stack.behind_port}" in conf
    assert "grocery.stack.keeper" not in conf


def test_a_full_disk_refuses_every_write_and_takes_them_again_afterwards(stack, writer, monkeypatch):
    monkeypatch.setattr(FaultyStack, "_tree", lambda *_: [psutil.Process(writer.pid)])
    before = psutil.Process(writer.pid).rlimit(psutil.RLIMIT_FSIZE)
    assert write(writer) == "written"
    with stack.full_disk():
        assert write(writer) == "refused"
    assert write(writer) == "written"
    assert psutil.Process(writer.pid).rlimit(psutil.RLIMIT_FSIZE) == before
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before, "nobody else's limit was touched"
