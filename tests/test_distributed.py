import pytest
import torch

from delineate import distributed
from delineate.distributed import amp_dtype, choose_device, ran_out_of_memory
from delineate.errors import UsageError

CPU = torch.device("cpu")


def test_auto_takes_what_is_there():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    if torch.backends.mps.is_available():
        expected = "mps"
    assert choose_device().type == expected
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["cuda:99", "gpu", ""])
def test_a_missing_device_lists_those_there_are(name):
    with pytest.raises(UsageError, match="choose auto or one of cpu"):
        choose_device(name)


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_cpu_precision_is_what_the_hardware_has(monkeypatch, has_bfloat16):
    monkeypatch.setattr(distributed, "has_hardware_bfloat16", lambda device: has_bfloat16)
    assert amp_dtype(CPU, "auto") == (torch.bfloat16 if has_bfloat16 else None)
    assert amp_dtype(CPU, "off") is None
    with pytest.raises(UsageError, match="does not compute in float16"):
        amp_dtype(CPU, "float16")
    if not has_bfloat16:
        with pytest.raises(UsageError, match=r"set training\.amp to auto or off"):
            amp_dtype(CPU, "bfloat16")


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not create a primitive descriptor for a convolution"), False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (MemoryError("std::bad_alloc"), True),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("DefaultCPUAllocator"), False),
    ],
)
def test_row_11_the_ways_in_which_memory_runs_out_are_known(error, is_memory):
    assert ran_out_of_memory(error) == is_memory
