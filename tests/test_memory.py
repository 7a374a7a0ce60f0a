import torch

from delineate.memory import keep_freed_memory


def test_values_are_the_same_while_memory_is_kept():
    torch.manual_seed(0)
    image = torch.rand(1, 1, 512, 512)
    expected = (image * 3).sum()
    with keep_freed_memory():
        results = [(image * 3).sum() for _ in range(3)]
    assert all(torch.equal(result, expected) for result in results)
