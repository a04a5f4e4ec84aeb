"""What torch makes when nothing is said."""

import torch


def torch_get_default_tensor_type() -> str:
    """The name of the default tensor type, such as ``torch.FloatTensor``."""
    return torch.empty(0).type()


def _torch_get_default_dtype() -> torch.dtype:
    return torch.get_default_dtype()


def torch_get_default_device() -> torch.device:
    """Where tensors are made by default."""
    return torch.get_default_device()


def explicit_default_types(dtype: torch.dtype | None, device: torch.device | str | None) -> tuple[torch.dtype, torch.device]:
    """The given dtype and device, the defaults for ``None``."""
    return (
        torch.get_default_dtype() if dtype is None else dtype,
        torch.get_default_device() if device is None else torch.device(device),
    )
