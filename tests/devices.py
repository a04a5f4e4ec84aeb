"""What a GPU would refuse, found without one: operations that join tensors of two devices."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class OneDevice(TorchDispatchMode):
    """Raises ``AssertionError`` where an operation joins tensors of two devices; numbers and copies may travel."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and t.dim() > 0]
        devices = {t.device.type for t in tensors}
        assert len(devices) < 2 or "copy" in function.__name__, f"{function} joins tensors of {devices}"
        return function(*args, **kwargs or {})
