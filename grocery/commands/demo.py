"""`grocery demo`."""

from typing import Annotated

import typer


def demo(
    stores: Annotated[int, typer.Option(help="How many stores; more than the chain has are cloned.", min=1)] = 3,
    days: Annotated[int, typer.Option(help="How many days to simulate.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Same seed, same day.")] = 7,
    keep_stack: Annotated[
        bool, typer.Option("--keep-stack", help="Leave broker and Flink running at the end.")
    ] = False,
) -> None:
    """The main job, end to end: a simulated day of smart stores becomes alerts and analytics tables.

    Starts a real Kafka broker and a real Flink cluster on free ports, lets the day through the gate faster than real
    time, prints alerts as they come, builds the lakehouse with Spark, checks it, models it with dbt, and holds what
    was caught against what was injected. Works in the workspace `demo`, which it makes anew each time; your own
    stack, lake and gold are not touched.

    Exit code 1: a fault that a rule covers was not caught, an alert lies outside every fault, or a step failed.
    """
    from grocery.demo import run

    raise typer.Exit(run(stores=stores, days=days, seed=seed, keep_stack=keep_stack))
