"""Energy models, one paper a file. A model maps a graph to energies (graphs,) in eV.

=============== ==========================================================================================
allegro         strictly local: a sum over pairs of neighbours
charges         NequIP's layers with predicted charges and their Coulomb energy
dens            learning by denoising, for models that offer their features
egnn            messages of invariants, and points that move
equiformer_v2   attention in the frames of the edges, high degrees
field_energy    an energy that reads an electric field; its derivatives are dipoles, polarizabilities, Born charges
l1net           features for properties of molecules, degree 0 to 2; the heads are in tensor
mace            messages of many-body order
nequip          an E(3)-equivariant message-passing network
painn           scalars and vectors
se3_transformer tensor field messages weighed by attention
tensor          tensors and properties by heads; tensor_files: their files
tensor_field    convolutions with harmonics, where it began
files           saving and loading: safetensors and JSON, never pickle
extend          more elements for a trained model
atomwise        what the small models share
=============== ==========================================================================================

A new model adds its settings class to the union and the table below; nothing else in the library names models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from tesseral.models.allegro import Allegro, AllegroSettings
from tesseral.models.charges import ChargeModel, ChargeSettings
from tesseral.models.dens import Denoiser as Denoiser
from tesseral.models.dens import DenoisingSettings as DenoisingSettings
from tesseral.models.egnn import EGNN, EGNNSettings
from tesseral.models.equiformer_v2 import EquiformerV2, EquiformerV2Settings
from tesseral.models.field_energy import FieldEnergy as FieldEnergy
from tesseral.models.field_energy import FieldEnergySettings as FieldEnergySettings
from tesseral.models.l1net import L1Net as L1Net
from tesseral.models.l1net import L1NetSettings as L1NetSettings
from tesseral.models.mace import MACE, MACESettings
from tesseral.models.nequip import NequIP, NequIPSettings
from tesseral.models.painn import PaiNN, PaiNNSettings
from tesseral.models.se3_transformer import SE3Transformer, SE3TransformerSettings
from tesseral.models.tensor_field import TensorField, TensorFieldSettings
from tesseral.nn.dispersion import D3, D3Settings
from tesseral.nn.pair import ZBL, Sum, ZBLSettings

# What a settings file may choose to train.
ModelSettings: TypeAlias = Annotated[
    NequIPSettings
    | MACESettings
    | AllegroSettings
    | EquiformerV2Settings
    | EGNNSettings
    | PaiNNSettings
    | TensorFieldSettings
    | SE3TransformerSettings
    | ChargeSettings
    | FieldEnergySettings,
    Field(discriminator="name"),
]
# The model of each of them.
LEARNED: dict[type[BaseModel], Callable[..., EnergyModel]] = {
    NequIPSettings: NequIP,
    MACESettings: MACE,
    AllegroSettings: Allegro,
    EquiformerV2Settings: EquiformerV2,
    EGNNSettings: EGNN,
    PaiNNSettings: PaiNN,
    TensorFieldSettings: TensorField,
    SE3TransformerSettings: SE3Transformer,
    ChargeSettings: ChargeModel,
    FieldEnergySettings: FieldEnergy,
}

# A single energy model, learned or known, as opposed to a sum of them.
TermSettings: TypeAlias = (
    NequIPSettings
    | MACESettings
    | AllegroSettings
    | EquiformerV2Settings
    | EGNNSettings
    | PaiNNSettings
    | TensorFieldSettings
    | SE3TransformerSettings
    | ChargeSettings
    | FieldEnergySettings
    | ZBLSettings
    | D3Settings
)


class SumSettings(BaseModel):
    """A sum of energy models; the first that has learned energies carries those of the isolated atoms."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["sum"] = "sum"
    terms: tuple[StoredSettings, ...] = Field(min_length=1, description="settings of each term")


# What a model file may hold.
StoredSettings: TypeAlias = Annotated[TermSettings | SumSettings, Field(discriminator="name")]
SumSettings.model_rebuild()
EnergyModel: TypeAlias = (
    NequIP
    | MACE
    | Allegro
    | EquiformerV2
    | EGNN
    | PaiNN
    | TensorField
    | SE3Transformer
    | ChargeModel
    | FieldEnergy
    | ZBL
    | D3
    | Sum
)


def parse_settings(values: Any) -> TermSettings | SumSettings:
    """Settings from plain data; ``pydantic.ValidationError`` names what is wrong.

    >>> parse_settings({"name": "zbl", "cutoff": 4.0, "species": [1, 8]}).cutoff
    4.0
    """
    return TypeAdapter(StoredSettings).validate_python(values)


def settings_of(model: torch.nn.Module) -> TermSettings | SumSettings:
    """The settings that :func:`build` makes this model from; ``TypeError`` for a model of another library.

    >>> settings_of(Sum([ZBL(4.0, (1, 8))])).terms[0].name
    'zbl'
    """
    if isinstance(model, Sum):
        return SumSettings(terms=tuple(settings_of(term) for term in model.terms))
    settings = getattr(model, "settings", None)
    if not isinstance(settings, TermSettings):
        raise TypeError(f"{type(model).__name__} is no model of tesseral: its settings are {settings!r}")
    return settings


def build(
    settings: TermSettings | SumSettings,
    *,
    atomic_energies: dict[int, float] | None = None,
    scales: dict[int, float] | float = 1.0,
    backend: str = "auto",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> EnergyModel:
    """The model that the settings describe, with new random weights.

    ``atomic_energies`` (eV) and ``scales`` (eV) by atomic number come from the training data. Known
    terms such as ZBL ignore both.

    >>> build(parse_settings({"name": "zbl", "cutoff": 4.0, "species": [1, 8]})).cutoff
    4.0
    """
    how: dict[str, Any] = {"scales": scales, "backend": backend, "dtype": dtype, "device": device}
    match settings:
        case ZBLSettings():
            return ZBL(settings.cutoff, settings.species, settings.cutoff_power)
        case D3Settings():
            return D3(settings.functional, settings.species, settings.three_body)
        case SumSettings():
            terms, energies = [], atomic_energies
            for term in settings.terms:
                terms.append(build(term, atomic_energies=energies, **how))
                energies = energies if isinstance(term, ZBLSettings | D3Settings) else None
            return Sum(terms)
        case _:
            return LEARNED[type(settings)](settings, atomic_energies=atomic_energies, **how)


def cast(model: torch.nn.Module, dtype: torch.dtype) -> EnergyModel:
    """A copy of the model that computes in another precision; energies of isolated atoms and sums stay float64.

    >>> cast(ZBL(4.0, (1, 8)), torch.float32).species
    (1, 8)
    """
    tensors = model.state_dict()
    device = next(iter(tensors.values())).device if tensors else None
    copy = build(settings_of(model), dtype=dtype, device=device)
    copy.load_state_dict(tensors)
    return copy.train(model.training)
