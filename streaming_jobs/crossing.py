"""How state crosses from Python's process to Flink's, in process mode."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from pyflink.datastream import RuntimeContext


@dataclass(slots=True)
class _Pipe:
    """Beam's handler of state requests; whoever writes is told at once that it was taken."""

    handler: Any
    taken: Any
    sent: list[Any] = field(default_factory=list)

    def append_raw(self, *request: Any) -> Any:
        self.sent.append(self.handler.append_raw(*request))
        return self.taken

    def clear(self, *request: Any) -> Any:
        self.sent.append(self.handler.clear(*request))
        return self.taken

    def wait(self) -> None:
        """Until Flink has taken everything that was sent. Raises RuntimeError where it says that it could not."""
        sent, self.sent = self.sent, []
        for answer in sent:
            error = answer.get().error
            if error:
                raise RuntimeError(f"state could not be written: {error}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.handler, name)


def send_state_together(context: RuntimeContext) -> None:
    """Let a bundle's writes of keyed state go to Flink one behind the other, and wait for all of them at its end.

    PyFlink waits for Flink's answer to each key's write before it sends the next. With thousands of keys in a bundle
    that is most of what a small batch costs (docs/streaming-performance.md). Order is kept, since all of it goes
    through one stream, also before what is read later; a bundle still ends only when everything is written.

    Reaches into PyFlink 2.2's process mode. In thread mode, and where a PyFlink is different inside, it does nothing.
    """
    backend = getattr(context, "_keyed_state_backend", None)
    by_key, maps = getattr(backend, "_state_handler", None), getattr(backend, "_map_state_handler", None)
    handler = getattr(by_key, "_underlying", None)
    if handler is None or getattr(maps, "_underlying", None) is not handler:
        return
    from apache_beam.runners.worker import sdk_worker

    pipe = _Pipe(handler, sdk_worker._Future().set(sdk_worker.beam_fn_api_pb2.StateResponse()))
    # Copies: the handlers are shared with operators that know nothing of this.
    backend._state_handler, backend._map_state_handler = copy.copy(by_key), copy.copy(maps)
    backend._state_handler._underlying = backend._map_state_handler._underlying = pipe
    commit = backend.commit

    def commit_and_wait() -> None:
        commit()
        pipe.wait()

    backend.commit = commit_and_wait
