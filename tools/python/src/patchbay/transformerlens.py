"""TransformerLens's ActivationCache, made from arrays of a cache."""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np


def activation_cache(arrays: Mapping[str, np.ndarray], model: Any, has_batch: bool) -> Any:
    """An ActivationCache of float32 tensors that share the memory of `arrays`.

    `model` is the HookedTransformer that some of its methods need, or None. Raises ImportError
    where TransformerLens is not installed.
    """
    import torch
    from transformer_lens import ActivationCache

    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return ActivationCache(tensors, model, has_batch_dim=has_batch)
