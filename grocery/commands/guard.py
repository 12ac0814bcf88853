"""`grocery guard`."""

from __future__ import annotations

from typing import Annotated

import typer


def guard(
    flink: Annotated[str | None, typer.Option(help="Address of Flink's REST API; default: the local stack's.")] = None,
    job: Annotated[
        list[str] | None,
        typer.Option(help="A job that shall run; may be given several times. Default: those given to the local stack."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of /metrics; 0 takes a free one.")] = 0,
    address: Annotated[str, typer.Option(help="Address that /metrics listens on.")] = "127.0.0.1",
) -> None:
    """Watch the pipeline itself, and raise an alert within a minute when it stands still.

    Told on `alerts.platform`, to be seen with `grocery alerts list` and `watch`: a job does not run, restarts in
    circles, lags or completes no checkpoint; a store's ticks or readings have stopped; the broker or Flink does not
    answer. A watchdog event every 30 s says that the guard itself is alive. docs/operations.md says what each means
    and what to do. `grocery stack up` runs a guard already: start this one where there is no local stack, and only one.

    Example:

      GROCERY_KAFKA=kafka:9092 grocery guard --flink http://jobmanager:8081 --job cold_chain --port 9250
    """
    import signal
    import threading

    from grocery.gateway import bootstrap, clear_errors
    from grocery.settings import settings
    from grocery.stack import Stack
    from guard.run import watch
    from streaming_jobs.submit import job_named

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with clear_errors():
        named = frozenset(job_named(name).name for name in job or ())
        stack = Stack(settings().stack_home, settings().logs)
        if flink is None and "guard" in stack.status().metrics:
            raise ValueError("the local stack runs a guard already; its log: " + str(settings().logs / "guard.log"))
        rest = (flink or stack.flink_rest).rstrip("/")
        watch(bootstrap(), rest, (lambda: named) if named else stack.expected_jobs, port, stop, address)
