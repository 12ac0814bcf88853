"""How the keeper tells a supervisord that was killed from one that is shut down. What then happens: test_stack.py."""

from itertools import chain, repeat
from pathlib import Path

import pytest

from grocery.stack import Stack, StackError, keeper, state

SUPERVISORD, INIT = 4_000_000, 1


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """One whose supervisord does not answer."""
    (tmp_path / "supervisord.pid").write_text(str(SUPERVISORD))
    with state.edit(tmp_path):
        pass
    return Stack(tmp_path, tmp_path)


def parents(monkeypatch: pytest.MonkeyPatch, *given: int) -> None:
    """What the keeper's parent is, each time it asks; the last for ever."""
    answers = chain(given, repeat(given[-1]))
    monkeypatch.setattr(keeper.os, "getppid", lambda: next(answers))


def test_a_stack_is_started_anew_though_its_dead_supervisord_was_silent_before_it_was_gone(stack, monkeypatch) -> None:
    started = []
    monkeypatch.setattr(stack, "up", lambda *parts, **options: started.append(parts))
    parents(monkeypatch, SUPERVISORD, SUPERVISORD, INIT)
    keeper.keep(stack)
    assert len(started) == 1


def test_a_stack_that_does_not_come_up_is_tried_again(stack, monkeypatch) -> None:
    tries = []

    def up(*_: object, **__: object) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise StackError("port 9092 is in use")

    monkeypatch.setattr(stack, "up", up)
    monkeypatch.setattr(keeper, "RETRY_S", 0.01)
    parents(monkeypatch, INIT)
    keeper.keep(stack)
    assert len(tries) == 3
    assert (stack.logs / "keeper.log").read_text().count("next try in 0 s: port 9092 is in use") == 2


def test_a_supervisord_that_lives_and_does_not_answer_is_left_alone(stack, monkeypatch, capsys) -> None:
    monkeypatch.setattr(stack, "up", lambda *_, **__: pytest.fail("started anew beside the living one"))
    monkeypatch.setattr(keeper, "ORPHANED_S", 0.1)
    parents(monkeypatch, SUPERVISORD)
    keeper.keep(stack)
    assert "nothing to keep any more" in capsys.readouterr().out
