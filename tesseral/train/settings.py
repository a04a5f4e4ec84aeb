"""What a user may write in the YAML file: every key, its default and its meaning, checked strictly.

``Settings[ModelSettings]`` is the whole file; the union of model settings is given by whoever assembles it, because training
knows no architecture. ``FitSettings`` is the part that :func:`tesseral.train.loop.fit` reads.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic import Strict as Strictly

from tesseral.data.keys import Keys
from tesseral.data.split import SplitSettings
from tesseral.data.statistics import AtomicEnergies
from tesseral.data.units import Units
from tesseral.physics.precision import Precision

UNITS_OF_TIME = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0,
    "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hour": 3600.0, "hours": 3600.0,
    "d": 86400.0, "day": 86400.0, "days": 86400.0,
}  # fmt: skip


def parse_duration(value: Any) -> Any:
    """Seconds from a number of seconds or a text such as ``15 minutes``, ``2h``, ``1.5 hours``, ``1h 30m``.

    Raises ``ValueError`` for a text that is not a duration.

    >>> parse_duration("15 minutes"), parse_duration("1h 30m"), parse_duration(90)
    (900.0, 5400.0, 90)
    """
    if not isinstance(value, str):
        return value
    parts = re.findall(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)", value.lower())
    if not parts or re.sub(r"[0-9.]+(?:e[+-]?[0-9]+)?\s*[a-z]*", "", value.lower()).strip(" ,"):
        raise ValueError("expected a duration such as '15 minutes', '2h' or a number of seconds")
    total = 0.0
    for number, unit in parts:
        if unit and unit not in UNITS_OF_TIME:
            raise ValueError(f"unknown unit of time '{unit}'; use s, min, h or d, as in '15 minutes'")
        total += float(number) * UNITS_OF_TIME.get(unit, 1.0)
    return total


def _paths(value: Any) -> Any:
    return [value] if isinstance(value, str | Path) else value


Duration = Annotated[float, Field(gt=0), BeforeValidator(parse_duration)]
File = Annotated[Path, Strictly(False)]
Paths = Annotated[list[File], BeforeValidator(_paths)]


class Strict(BaseModel):
    """Unknown keys, wrong types, and infinite numbers are errors; instances are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)


class TermSettings(Strict):
    """One quantity of the loss."""

    weight: float = Field(default=1.0, ge=0, description="weight in the loss; 0 leaves the quantity out")
    kind: Literal["mse", "mae", "huber", "l2"] = Field(
        default="mse", description="mse (squared error), mae, huber, or l2 (length of the error vector: outliers count less)"
    )
    delta: float = Field(
        default=0.01, gt=0, description="huber only: errors below are squared, above linear; in the unit of the quantity"
    )


class EnergyTermSettings(TermSettings):
    """The energy of the loss."""

    per_atom: bool = Field(default=True, description="errors in eV/atom rather than eV")


class HessianTermSettings(Strict):
    """The Hessian in the loss, for frames that come with one: products with a few vectors in every step."""

    weight: float = Field(default=0.0, ge=0, description="weight of the mean squared error of an entry, (eV/Å²)²; 0 for none")
    kind: Literal["random", "rows"] = Field(
        default="random", description="products with random signs, or rows of the matrix (coordinates of single atoms)"
    )
    probes: int = Field(default=2, ge=1, description="products in a step")
    start: float = Field(
        default=0.5, ge=0, lt=1, description="fraction of the run that energies and forces have for themselves first"
    )


class LossSettings(Strict):
    """The loss: the weighted sum of mean errors of the labelled energies (eV), forces (eV/Å), stresses (eV/Å³) and responses."""

    energy: EnergyTermSettings = Field(default=EnergyTermSettings(), description="energy of a frame")
    forces: TermSettings = Field(default=TermSettings(weight=10.0), description="components of the forces")
    stress: TermSettings = Field(
        default=TermSettings(weight=0.0), description="components of the stress; give it a weight to train on stress"
    )
    dipole: TermSettings = Field(
        default=TermSettings(weight=0.0), description="dipoles of molecules (e·Å), for model.name=field_energy, as the two below"
    )
    polarizability: TermSettings = Field(default=TermSettings(weight=0.0), description="polarizabilities (Å³)")
    born_charges: TermSettings = Field(
        default=TermSettings(weight=0.0), description="Born effective charges, atomic polar tensors (e)"
    )
    hessian: HessianTermSettings = Field(default=HessianTermSettings(), description="second derivatives, of data.hessians")


class OptimizerSettings(Strict):
    """The optimizer."""

    name: Literal["adam", "adamw", "amsgrad", "muon"] = Field(
        default="muon",
        description="muon (orthogonal steps for matrices), adam, adamw, amsgrad",
    )
    lr: float = Field(default=0.01, gt=0, description="learning rate before the schedule")
    betas: Annotated[tuple[float, float], Strictly(False)] = Field(
        default=(0.9, 0.999), description="decay of the first and second moments"
    )
    weight_decay: float = Field(
        default=5e-7,
        ge=0,
        description="L2 penalty (adam, amsgrad) or decoupled decay (adamw, muon: 0.005 for long runs); biases, scales are exempt",
    )


class ConstantSettings(Strict):
    """A constant learning rate."""

    name: Literal["constant"] = "constant"
    warmup_steps: int = Field(default=0, ge=0, description="steps over which the rate rises linearly from 0")


class PlateauSettings(Strict):
    """The learning rate falls when the monitored error no longer does."""

    name: Literal["plateau"] = "plateau"
    warmup_steps: int = Field(default=0, ge=0, description="steps over which the rate rises linearly from 0")
    patience: int = Field(default=50, ge=0, description="validations without improvement before the rate falls")
    reduce: float = Field(default=0.8, gt=0, lt=1, description="factor by which it falls")
    final: float = Field(default=1e-4, ge=0, le=1, description="lowest rate, as a fraction of lr")


class CosineSettings(Strict):
    """The learning rate follows half a cosine over the run."""

    name: Literal["cosine"] = "cosine"
    warmup_steps: int = Field(default=20, ge=0, description="steps over which the rate rises linearly from 0")
    hold: float = Field(default=0.0, ge=0, lt=1, description="fraction of the run at the full rate before the cosine starts")
    final: float = Field(default=1e-3, ge=0, le=1, description="rate at the end, as a fraction of lr")
    driven_by: Literal["auto", "epochs", "time"] = Field(
        default="auto",
        description="what measures the progress: epochs/max_epochs, elapsed/max_time, or (auto) whichever is further along",
    )


ScheduleSettings = Annotated[ConstantSettings | PlateauSettings | CosineSettings, Field(discriminator="name")]

MONITORS = (
    "loss", "energy_mae", "energy_rmse", "energy_per_atom_mae", "energy_per_atom_rmse",
    "forces_mae", "forces_rmse", "stress_mae", "stress_rmse", "dipole_mae", "dipole_rmse", "polarizability_mae",
    "polarizability_rmse", "born_charges_mae", "born_charges_rmse",
)  # fmt: skip


class RunSettings(Strict):
    """How to fit, whatever is learned."""

    optimizer: OptimizerSettings = Field(default=OptimizerSettings(), description="how")
    schedule: ScheduleSettings = Field(
        default=CosineSettings(), description="learning rate over the run; name: constant | plateau | cosine"
    )
    batch_size: int = Field(default=5, ge=1, description="frames in a step, over all devices together")
    validation_batch_size: int = Field(default=32, ge=1, description="frames in a batch of validation")
    max_epochs: int | None = Field(
        default=None,
        ge=1,
        description="stop after so many passes over the training frames; 300 when neither this nor max_time is set",
    )
    max_time: Duration | None = Field(
        default=None, description="stop after this wall-clock time, validation included: '15 minutes', '2h', or seconds"
    )
    ema_decay: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        description="decay of the moving average of the weights, which is validated and saved; 0 for none",
    )
    clip_gradients: float | None = Field(default=10.0, gt=0, description="largest norm of the gradient; null for no clipping")
    validate_every: int = Field(default=1, ge=1, description="epochs between validations")
    monitor: str = Field(
        default="last",
        description="which weights are kept: the last, or those of the lowest loss or other error of the validation",
    )
    early_stopping: int | None = Field(
        default=None, ge=1, description="stop after so many validations without improvement; null for never"
    )
    seed: int = Field(default=0, ge=0, description="seed of the initial weights, the random split and the order of the frames")
    devices: int = Field(default=1, ge=1, description="processes (CPU) or GPUs")
    accelerator: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto takes a CUDA device when there is one")
    tensorboard: bool = Field(default=True, description="also write TensorBoard logs")

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        """A schedule without a name adjusts the default one; a run without an end lasts 300 epochs."""
        if not isinstance(values, dict):
            return values
        if isinstance(values.get("schedule"), dict) and "name" not in values["schedule"]:
            values = values | {"schedule": {"name": CosineSettings().name} | values["schedule"]}
        if values.get("max_epochs") is None and values.get("max_time") is None:
            values = values | {"max_epochs": 300}
        return values

    @model_validator(mode="after")
    def _ends(self) -> RunSettings:
        schedule = self.schedule
        if self.monitor == "last" and (self.early_stopping is not None or isinstance(schedule, PlateauSettings)):
            what = "early_stopping" if self.early_stopping is not None else "schedule plateau"
            raise ValueError(f"{what} watches an error of the validation, but monitor is 'last'; set monitor=loss")
        if isinstance(schedule, CosineSettings):
            if schedule.driven_by == "time" and self.max_time is None:
                raise ValueError(
                    "schedule.driven_by is 'time', but max_time is not set; set max_time, or schedule.driven_by=epochs"
                )
            if schedule.driven_by == "epochs" and self.max_epochs is None:
                raise ValueError(
                    "schedule.driven_by is 'epochs', but max_epochs is not set; set max_epochs, or schedule.driven_by=time"
                )
        return self


class FitSettings(RunSettings):
    """How to fit energies and their derivatives."""

    loss: LossSettings = Field(default=LossSettings(), description="what is minimised")
    monitor: Literal[MONITORS] = Field(
        default="loss", description="validation error that selects the best weights, drives plateau and early stopping"
    )  # type: ignore[valid-type]
    compile: bool = Field(
        default=False, description="compile the training step, minutes at the start; for long runs on a GPU, of models that trace"
    )


class DataSettings(Strict):
    """Where the frames are, and what their labels are called."""

    train: Paths = Field(..., description="training frames: a path or a list (extxyz, ASE db, LMDB, anything ASE reads)")
    validation: Paths = Field(default=[], description="validation frames; when empty they are split from the training frames")
    test: dict[str, Paths] = Field(default={}, description="named sets, each scored once at the end, as in {hot: test_600K.xyz}")
    isolated_atoms: Paths = Field(default=[], description="frames of single atoms, for their energies, when train has none")
    hessians: Paths = Field(
        default=[], description="npz files with numbers, positions (Å) and hessian (eV/Å²) of a molecule, for loss.hessian"
    )
    limit: int | None = Field(
        default=None, ge=1, description="use only so many training frames, drawn with the seed of the split"
    )
    split: SplitSettings = Field(default=SplitSettings(), description="the split of train; it is written to split.json")
    split_file: File | None = Field(default=None, description="split file of an earlier run, to use the same split again")
    keys: Keys = Field(default=Keys(), description="under which keys the files keep their labels; null: do not read it")
    units: Units = Field(default=Units(), description="in which units the files give their numbers")
    examine: bool = Field(
        default=True, description="let the data doctor look at the frames first, and stop at what it calls an error"
    )


class ReplaySettings(Strict):
    """Frames that the model was trained on before, so that it does not forget them; they get a head of their own."""

    frames: Paths = Field(..., min_length=1, description="the frames: a path or a list")
    weight: float = Field(default=1.0, gt=0, description="weight of their errors in the loss; a new frame weighs 1")
    limit: int | None = Field(default=None, ge=1, description="use only so many of them, drawn with the seed")
    keys: Keys = Field(default=Keys(), description="under which keys the files keep their labels; null: do not read it")
    units: Units = Field(default=Units(), description="in which units the files give their numbers")


ModelT = TypeVar("ModelT")


class Settings(FitSettings, Generic[ModelT]):
    """The whole settings file: ``Settings[Model]`` with the union of model settings as ``Model``."""

    data: DataSettings = Field(..., description="where the frames are")
    model: ModelT = Field(..., description="the architecture")
    atomic_energies: AtomicEnergies = Field(default=AtomicEnergies(), description="energies of the isolated atoms (E0s)")
    precision: Precision = Field(
        default="float32",
        description="inside the network: float32, float64, or bf16-products (float32 with matrix products in bfloat16, for GPUs; "
        "on a CPU slower); geometry and energy sums are float64",
    )
    start_from: File | None = Field(
        default=None, description="a model file to start from; it gives the section model, which is then left out"
    )
    train_only: Literal["all", "readout", "lora"] = Field(
        default="all",
        description="with start_from: all weights, the readout alone, or lora (corrections of low rank to all linear maps)",
    )
    lora_rank: int = Field(default=4, ge=1, description="rank of the corrections of train_only: lora")
    add_elements: bool = Field(
        default=False, description="with start_from: add the elements of the data that the model does not know"
    )
    replay: ReplaySettings | None = Field(
        default=None, description="with start_from: frames of the earlier training, learned along by a head of their own"
    )

    @model_validator(mode="after")
    def _rounds(self) -> Settings[ModelT]:
        if self.precision == "bf16-products" and self.compile:
            raise ValueError("precision bf16-products and compile=true do not go together yet; leave one of them out")
        return self

    @model_validator(mode="after")
    def _starts(self) -> Settings[ModelT]:
        if self.start_from is None and (self.train_only != "all" or self.add_elements):
            asked = "add_elements" if self.add_elements else f"train_only={self.train_only}"
            raise ValueError(f"{asked} changes a trained model, but start_from names none; set start_from=model.safetensors")
        if self.replay is not None and self.start_from is None:
            raise ValueError("replay keeps a trained model from forgetting, but start_from names none; leave replay out")
        if self.replay is not None and (self.train_only == "readout" or self.compile):
            cure = "compile=false" if self.compile else "train_only=all or lora"
            raise ValueError(f"replay trains what two heads share, uncompiled: set {cure}, or leave replay out")
        return self
