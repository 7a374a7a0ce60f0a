"""Signals that ask a training to end."""

import os
import signal

import pytest

from delineate.processes import Team
from delineate.training.interruption import Interruption


def test_row_3_a_signal_is_noted_and_the_second_ends():
    with Interruption() as interruption:
        assert not interruption.is_requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.is_requested
        with pytest.raises(SystemExit, match="143"):
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_to_one_process_counts_for_all_once_settled(monkeypatch):
    others = [0]
    monkeypatch.setattr(Team, "most", lambda self, number: max(number, *others))
    with Interruption(Team(0, 2)) as interruption:
        interruption.settle()
        assert not interruption.is_requested
        others[0] = signal.SIGINT
        assert not interruption.is_requested
        interruption.settle()
        assert interruption.is_requested
    with pytest.raises(KeyboardInterrupt):
        interruption.raise_if_requested()


def test_torchrun_may_signal_twice(monkeypatch):
    monkeypatch.setattr(Team, "most", lambda self, number: number)
    with Interruption(Team(1, 2)) as interruption:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert not interruption.is_requested
        interruption.settle()
        assert interruption.is_requested
