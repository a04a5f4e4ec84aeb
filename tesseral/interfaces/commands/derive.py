"""Commands that derive something from a potential: structures, trajectories, phonons, spectra, elasticity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tesseral.interfaces.commands.options import (
    Backend,
    Model,
    Output,
    Overwrite,
    Precision,
    Resume,
    Structure,
    check_outputs,
    load_model,
)


def relax(
    model: Model,
    structure: Structure,
    output: Annotated[Path, typer.Option("--output", "-o", help="file for the relaxed structure (extended XYZ)")],
    fmax: Annotated[float, typer.Option(help="largest force that may remain, in eV/Å")] = 0.01,
    steps: Annotated[int, typer.Option(help="most steps")] = 500,
    cell: Annotated[bool, typer.Option("--cell", help="relax the cell, too")] = False,
    precision: Precision = "float64",
    backend: Backend = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the output file")] = False,
) -> None:
    """Relax a structure, and its cell if asked."""
    from tesseral.interfaces.simulation import relax_file

    potential, _ = load_model(model, precision, backend)
    check_outputs(output, model, structure, overwrite=overwrite)
    relax_file(potential, structure, output, fmax=fmax, steps=steps, cell=cell)


def md(
    model: Model,
    structure: Structure,
    output: Annotated[Path, typer.Option("--output", "-o", help="trajectory to write (extended XYZ)")],
    time: Annotated[float, typer.Option(help="duration in ps")] = 1.0,
    timestep: Annotated[float, typer.Option(help="in fs")] = 0.5,
    temperature: Annotated[float, typer.Option(help="in K: of the start (nve) or of the bath")] = 300.0,
    ensemble: Annotated[str, typer.Option(help="nve, nvt (Langevin), nvt-bussi, or npt (Berendsen)")] = "nve",
    pressure: Annotated[float, typer.Option(help="in GPa, for npt")] = 0.0,
    every: Annotated[int, typer.Option(help="steps between written frames")] = 20,
    seed: Annotated[int, typer.Option(help="seed of velocities and bath")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="continue the trajectory in the output file")] = False,
    max_uncertainty: Annotated[float | None, typer.Option(help="flag forces less sure than this, in eV/Å")] = None,
    stop_uncertain: Annotated[bool, typer.Option("--stop-uncertain", help="stop at the first flagged frame")] = False,
    precision: Precision = "",
    backend: Backend = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the output file")] = False,
) -> None:
    """Molecular dynamics at constant energy, temperature, or temperature and pressure."""
    from tesseral.interfaces.simulation import md_file
    from tesseral.interfaces.uncertainty import stored

    potential, metadata = load_model(model, precision, backend)
    if resume and overwrite:
        raise ValueError("--resume continues a trajectory and --overwrite discards it; give one of them")
    if not resume:
        for written in (output, output.with_suffix(".csv")):
            check_outputs(written, model, structure, overwrite=overwrite)
    md_file(
        potential, structure, output, time=time, resume=resume, overwrite=overwrite,
        timestep=timestep, temperature=temperature, ensemble=ensemble, pressure=pressure, interval=every, seed=seed,
        uncertainty=stored(metadata), max_uncertainty=max_uncertainty, stop_uncertain=stop_uncertain,
    )  # fmt: skip


def symmetry(
    structure: Structure,
    target: Annotated[Path | None, typer.Option(help="a distorted form of the structure: what distorts it, by irreps")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="folder for report.html and symmetry.json")] = None,
    tolerance: Annotated[float | None, typer.Option(help="in Å; 0.001 for crystals, 0.01 for molecules")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the report in the output folder")] = False,
) -> None:
    """The symmetry of a crystal or molecule: group, sites, irreps, tensors; and the order parameters of a distortion."""
    from rich.console import Console

    from tesseral.interfaces.symmetry import symmetry_file

    symmetry_file(structure, target, output, tolerance=tolerance, overwrite=overwrite, console=Console())


def phonons(
    model: Model,
    structure: Structure,
    output: Output = Path("phonons"),
    fmax: Annotated[float, typer.Option(help="largest force that may remain in the relaxed crystal, in eV/Å")] = 1e-4,
    fixed_cell: Annotated[bool, typer.Option("--fixed-cell", help="relax the atoms only")] = False,
    supercell: Annotated[str, typer.Option(help="for phonopy, as in '4 4 4'; empty: 20 Å in every direction")] = "",
    born: Annotated[Path | None, typer.Option(help="BORN file of phonopy, or a model of the energy in a field: LO-TO")] = None,
    temperature: Annotated[float, typer.Option(help="highest temperature of the thermal properties, in K")] = 1000.0,
    precision: Precision = "float64",
    backend: Backend = "auto",
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Phonons of a crystal: bands, density of states, thermal properties, exact force constants in phonopy's files."""
    from tesseral.interfaces.phonons import phonons as run

    potential, _ = load_model(model, precision, backend)
    run(
        potential, structure, output, fmax=fmax, cell=not fixed_cell, supercell=_three(supercell), born=born,
        temperature=temperature, resume=resume, overwrite=overwrite,
    )  # fmt: skip


def spectrum(
    model: Model,
    structure: Structure,
    output: Output = Path("spectrum"),
    tensors: Annotated[
        Path | None,
        typer.Option(help="a model of dipole and polarizability, for intensities; MODEL itself where it reads a field"),
    ] = None,
    trajectory: Annotated[Path | None, typer.Option(help="dynamics of the molecule with momenta, for its spectra, too")] = None,
    interval: Annotated[float | None, typer.Option(help="time between the frames of the trajectory, in fs")] = None,
    fmax: Annotated[float, typer.Option(help="largest force that may remain in the relaxed molecule, in eV/Å")] = 1e-4,
    width: Annotated[float, typer.Option(help="full width of the lines at half maximum, in 1/cm")] = 10.0,
    tolerance: Annotated[float, typer.Option(help="of the point group, in Å")] = 0.01,
    precision: Precision = "float64",
    backend: Backend = "auto",
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Normal modes of a molecule by irreps, what is active in the infrared and in Raman, and how much."""
    from tesseral.interfaces.spectrum import spectrum_file

    potential, _ = load_model(model, precision, backend)
    spectrum_file(
        potential, structure, output, tensors=tensors, trajectory=trajectory, interval=interval, fmax=fmax, width=width,
        tolerance=tolerance, resume=resume, overwrite=overwrite,
    )  # fmt: skip


def elastic(
    model: Model,
    structure: Structure,
    output: Output = Path("elastic"),
    fmax: Annotated[float, typer.Option(help="largest force that may remain in the relaxed crystal, in eV/Å")] = 1e-4,
    fixed_cell: Annotated[bool, typer.Option("--fixed-cell", help="relax the atoms only")] = False,
    precision: Precision = "float64",
    backend: Backend = "auto",
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Elastic constants of a crystal, with the atoms clamped and relaxed, and the moduli of a polycrystal."""
    from tesseral.interfaces.elastic import elastic as run

    potential, _ = load_model(model, precision, backend)
    run(potential, structure, output, fmax=fmax, cell=not fixed_cell, resume=resume, overwrite=overwrite)


def eos(
    model: Model,
    structure: Structure,
    output: Output = Path("eos"),
    width: Annotated[float, typer.Option(help="largest relative change of the volume")] = 0.06,
    points: Annotated[int, typer.Option(help="number of volumes")] = 9,
    fmax: Annotated[float, typer.Option(help="largest force that may remain at each volume, in eV/Å")] = 1e-3,
    precision: Precision = "float64",
    backend: Backend = "auto",
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """The equation of state of a crystal: volume, bulk modulus and its pressure derivative."""
    from tesseral.interfaces.elastic import eos as run

    potential, _ = load_model(model, precision, backend)
    run(potential, structure, output, width=width, points=points, fmax=fmax, resume=resume, overwrite=overwrite)


def _three(text: str) -> tuple[int, int, int] | None:
    if not text.strip():
        return None
    words = text.replace("x", " ").replace(",", " ").split()
    if len(words) != 3 or not all(word.isdigit() for word in words):
        raise ValueError(f"--supercell is {text!r}, expected three whole numbers such as '4 4 4'")
    return int(words[0]), int(words[1]), int(words[2])
