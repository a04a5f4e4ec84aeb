"""The settings file of ``tesseral train``: what training knows, the models there are, and learning by denoising."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tesseral.models import DenoisingSettings, ModelSettings, files, parse_settings
from tesseral.physics.electric import RESPONSES
from tesseral.train.settings import File, Settings
from tesseral.train.settings_file import SettingsError, read_settings


class TrainingSettings(Settings[ModelSettings]):
    """The whole settings file."""

    denoising: DenoisingSettings | None = Field(
        default=None,
        description="displace some atoms and learn by how much, beside the rest (DeNS; docs/so2.md); equiformer_v2, nequip: {} "
        "for the published numbers; keys: " + ", ".join(DenoisingSettings.model_fields),
    )

    @model_validator(mode="after")
    def _responds(self) -> TrainingSettings:
        weighed = [name for name in RESPONSES if getattr(self.loss, name).weight > 0]
        if self.model.name != "field_energy":
            if weighed:
                raise ValueError(
                    f"loss.{weighed[0]}.weight is {getattr(self.loss, weighed[0]).weight}, but a {self.model.name} reads no "
                    "electric field: set model.name=field_energy, or train heads for tensors with `tesseral tensors`"
                )
            return self
        if not weighed and self.start_from is None:
            raise ValueError(
                "model.name=field_energy learns responses to a field, but the weights of all of them are 0: set "
                "loss.dipole.weight, loss.polarizability.weight or loss.born_charges.weight, or model.name=nequip"
            )
        for what, given in {"compile=true": self.compile, "replay": self.replay is not None}.items():
            if given:
                raise ValueError(f"model.name=field_energy is trained uncompiled, with one head: leave {what} out")
        return self

    @model_validator(mode="after")
    def _denoises(self) -> TrainingSettings:
        if self.denoising is None:
            return self
        if self.loss.forces.weight == 0:
            raise ValueError(
                "denoising weighs noise by the weight of the forces, which is 0: set loss.forces.weight, or leave it out"
            )
        clash = {
            "compile=true": self.compile,
            "precision=bf16-products": self.precision == "bf16-products",
            "replay": self.replay is not None,
            "train_only=readout": self.train_only == "readout",
        }
        for what, given in clash.items():
            if given:
                raise ValueError(
                    f"denoising teaches the features of one model, uncompiled and unrounded: leave {what} out, or denoising"
                )
        return self


class _Start(BaseModel):
    model_config = ConfigDict(extra="ignore")

    start_from: File | None = None


def read_training_settings(path: str | Path, overrides: Sequence[str] = ()) -> TrainingSettings:
    """The settings of a training run; with ``start_from`` the section ``model`` comes from that file and may be left out.

    Raises ``SettingsError`` where the settings ask for another architecture than that of the file, and ``ModelFileError`` for a
    file that cannot be read.
    """
    start = read_settings(_Start, path, overrides).start_from
    if start is None:
        return read_settings(TrainingSettings, path, overrides)
    stored = files.read(start)[0].settings
    if stored.get("name") == "sum":
        raise SettingsError(f"{start} is a sum of models; start_from takes a single learned model, such as one of its terms")
    settings = read_settings(TrainingSettings, path, overrides, {"model": stored})
    expected = parse_settings(stored)
    asked = {key: value for key, value in settings.model if getattr(expected, key, None) != value}
    if type(settings.model) is not type(expected) or asked:
        raise SettingsError(
            f"{path}: start_from gives the architecture, but model asks for "
            + ", ".join(f"{key}={value}" for key, value in asked.items())
            + f", which {start} has not: leave the section model out, or leave start_from out to train anew"
        )
    return settings
