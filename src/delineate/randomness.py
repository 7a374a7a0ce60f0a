"""Seeds, and the state of the random number generators."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators.

    Args:
        seed: Any integer; each generator gets its own stream from it.
    """
    import torch

    words = np.random.SeedSequence(abs(seed)).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))  # libraries that draw from the global generator
    torch.manual_seed(int(words[2]))


def generator_for(seed: int, *keys: int) -> np.random.Generator:
    """Return the generator of one draw, such as (seed, epoch, index).

    Equal arguments give equal streams wherever and in whatever order they are drawn; different
    arguments give independent ones.

    Args:
        seed: The seed of the run; negative seeds are taken by their absolute value.
        keys: Non-negative integers that name the draw.
    """
    return np.random.default_rng(np.random.SeedSequence(abs(seed), spawn_key=keys))


def rng_state() -> dict[str, Tensor]:
    """Return the state of the global generators as tensors, which load without pickle."""
    import torch

    _, words, position, has_gauss, gauss = np.random.get_state()
    version, python_words, python_gauss = random.getstate()
    state = {
        "torch": torch.get_rng_state(),
        "numpy_words": torch.from_numpy(np.asarray(words, dtype=np.int64)),
        "numpy_rest": torch.tensor([position, has_gauss, gauss], dtype=torch.float64),
        "python_words": torch.tensor([version, *python_words], dtype=torch.int64),
        "python_gauss": torch.tensor(
            [] if python_gauss is None else [python_gauss], dtype=torch.float64
        ),
    }
    for index in range(torch.cuda.device_count()):
        state[f"cuda_{index}"] = torch.cuda.get_rng_state(index)
    return state


def restore_rng_state(state: dict[str, Tensor]) -> None:
    """Put the global generators back to what `rng_state` returned."""
    import torch

    torch.set_rng_state(state["torch"])
    position, has_gauss, gauss = state["numpy_rest"].tolist()
    words = state["numpy_words"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", words, int(position), int(has_gauss), gauss))
    version, *python_words = state["python_words"].tolist()
    python_gauss = state["python_gauss"].tolist()
    random.setstate((version, tuple(python_words), python_gauss[0] if python_gauss else None))
    for index in range(torch.cuda.device_count()):
        if f"cuda_{index}" in state:
            torch.cuda.set_rng_state(state[f"cuda_{index}"], index)
