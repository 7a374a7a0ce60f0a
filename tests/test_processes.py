"""A process on its own; several are tested with the training that they do."""

import pytest
import torch

from delineate import processes
from delineate.errors import UsageError
from delineate.processes import ALONE, Team, choose_team_device, join_team, speaks

CPU = torch.device("cpu")


def test_one_process_is_a_team():
    with join_team() as team:
        assert team == ALONE
        assert team.is_main
        assert speaks()
        assert team.share("value") == "value"
        assert team.gather("value") == ["value"]
        assert team.join(["a", "b"]) == ["a", "b"]
        assert team.most(3) == 3
        assert not team.agree(False)
        assert list(team.turns(3)) == [0, 1, 2]
        assert not torch.distributed.is_initialized()


def test_things_are_dealt_out_in_turns():
    assert [list(Team(rank, 3).turns(7)) for rank in range(3)] == [[0, 3, 6], [1, 4], [2, 5]]


def test_only_the_first_speaks(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert not speaks()


@pytest.mark.parametrize("name", ["cpu", "auto"])
def test_a_team_shares_the_cpu(monkeypatch, name):
    monkeypatch.setattr(processes, "choose_device", lambda name: CPU)
    assert choose_team_device(name, Team(1, 2)) == CPU


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    chosen = []
    monkeypatch.setattr(processes, "choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_team_device("cuda", Team(5, 8)) == torch.device("cuda:1")
    assert chosen == [torch.device("cuda:1")]
    assert choose_team_device("cuda:0", ALONE) == torch.device("cuda:0")
    with pytest.raises(UsageError, match="8 processes cannot share the device cuda:0"):
        choose_team_device("cuda:0", Team(5, 8))
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UsageError, match="there are 2; start as many"):
        choose_team_device("cuda", Team(6, 8))
