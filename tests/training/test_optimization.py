import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from delineate.training.optimization import Schedule, WeightAverage, build_optimizer


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))


def test_decay_spares_biases_and_norms():
    network = make_network()
    optimizer = build_optimizer(network, learning_rate=0.1, weight_decay=0.5)
    decayed, spared = optimizer.param_groups
    assert [p.ndim for p in decayed["params"]] == [4, 4]
    assert decayed["weight_decay"] == 0.5
    assert {p.ndim for p in spared["params"]} == {1}
    assert spared["weight_decay"] == 0
    assert len(decayed["params"]) + len(spared["params"]) == len(list(network.parameters()))


def test_the_rate_rises_linearly_and_falls_as_a_cosine():
    schedule = Schedule(num_steps=100, warmup_fraction=0.1)
    factors = [schedule.factor(step) for step in range(100)]
    assert factors[0] == pytest.approx(0.05)
    assert factors[4] == pytest.approx(0.45)
    assert max(factors) == pytest.approx(1, abs=0.01)
    assert schedule.factor(54) + schedule.factor(55) == pytest.approx(1, abs=0.01)
    assert 0 < factors[-1] < 1e-3
    assert factors[10:] == sorted(factors[10:], reverse=True)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 200), st.data())
def test_a_shortened_schedule_goes_on_where_it_was_and_still_ends_at_zero(num_steps, data):
    schedule = Schedule(num_steps, warmup_fraction=0.05)
    step = data.draw(st.integers(1, num_steps - 1))
    fewer = data.draw(st.integers(step + 1, num_steps))
    before = schedule.progress(step - 1)
    schedule.shorten(step, fewer)
    shares = [schedule.progress(s) for s in range(step, fewer)]
    assert before < shares[0]
    assert shares == sorted(shares)
    assert shares[-1] <= 1
    half_a_step = (1 - step / num_steps) / (fewer - step) / 2
    assert shares[-1] == pytest.approx(1 - half_a_step)


def test_the_average_follows_the_formula_with_a_warmed_up_decay():
    network = make_network()
    average = WeightAverage(network, decay=0.3)
    expected = network[0].weight.detach().clone()
    statistics = network[1].running_mean.clone()
    for t in range(1, 6):
        with torch.no_grad():
            network[0].weight += t
            network[1].running_mean += 2 * t
            network[1].num_batches_tracked += 1
        average.update()
        decay = min(0.3, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * network[0].weight.detach()
        statistics = decay * statistics + (1 - decay) * network[1].running_mean
    torch.testing.assert_close(average.network[0].weight, expected)
    torch.testing.assert_close(average.network[1].running_mean, statistics)
    assert int(average.network[1].num_batches_tracked) == 5
    assert not average.network.training
    assert not any(p.requires_grad for p in average.network.parameters())
