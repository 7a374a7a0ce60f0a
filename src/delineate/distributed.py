"""Which device computes, and in which precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from delineate.errors import UsageError

if TYPE_CHECKING:
    import torch

# What comes as a plain RuntimeError: of the CPU's allocator, of oneDNN for its own buffers (what it
# does not support it calls "a primitive descriptor"), and of libraries on a GPU.
_NO_MEMORY = (
    "DefaultCPUAllocator",
    "could not create a primitive\n",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)

Precision = Literal["auto", "bfloat16", "float16", "off"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device that `name` asks for.

    Args:
        name: `auto` (a GPU where there is one, else the CPU), or torch's name for a device such
            as `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        UsageError: If the name is unknown or this machine lacks the device.
    """
    import torch

    has_mps = torch.backends.mps.is_available()
    available = ["cpu"]
    available += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    available += ["mps"] if has_mps else []
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    # "cuda" alone is the first GPU
    if name not in available and not (name == "cuda" and torch.cuda.is_available()):
        raise UsageError(
            f"device {name!r} is not on this machine; choose auto or one of {', '.join(available)}"
        )
    return torch.device(name)


def has_hardware_bfloat16(device: torch.device) -> bool:
    """Return whether the device computes in bfloat16 by itself, without slow emulation."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        try:  # private, and the only way torch offers to ask
            return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        except (AttributeError, RuntimeError):
            return False
    return False


def amp_dtype(device: torch.device, setting: Precision = "auto") -> torch.dtype | None:
    """Return the reduced precision to compute in, or None for plain float32.

    Args:
        device: Where the network runs.
        setting: `auto` takes bfloat16, else float16, where the device has it in hardware.

    Raises:
        UsageError: If a precision is asked for that the device lacks.
    """
    import torch

    if setting == "off":
        return None
    supported: list[str] = []
    if has_hardware_bfloat16(device):
        supported.append("bfloat16")
    if device.type == "cuda":
        supported.append("float16")
    if setting == "auto":
        return getattr(torch, supported[0]) if supported else None
    if setting not in supported:
        raise UsageError(
            f"{device} does not compute in {setting} in hardware; set training.amp to "
            f"{' or '.join(['auto', *supported, 'off'])}"
        )
    dtype: torch.dtype = getattr(torch, setting)
    return dtype


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether torch raised an error because memory ran out, on a GPU or on the CPU."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in f"{error}\n" for sign in _NO_MEMORY)
