"""The optimizer that the settings name."""

from __future__ import annotations

import torch

from tesseral.train.admission import TrainingError
from tesseral.train.muon import Muon
from tesseral.train.settings import OptimizerSettings


def build_optimizer(model: torch.nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Muon, Adam, AdamW or AMSGrad over the parameters that require gradients; biases, scales and shifts are not decayed."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not named:
        raise TrainingError("the model has no parameters that require gradients; there is nothing to train")
    exempt = ("bias", "biases", "scale", "scales", "shift", "shifts")
    if settings.name == "muon":
        return Muon(model, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, exempt=exempt)
    free = [parameter for name, parameter in named if name.rpartition(".")[2] in exempt]
    decayed = [parameter for name, parameter in named if name.rpartition(".")[2] not in exempt]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": free, "weight_decay": 0.0}]
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(
        [g for g in groups if g["params"]], lr=settings.lr, betas=settings.betas, amsgrad=settings.name == "amsgrad", fused=True
    )
