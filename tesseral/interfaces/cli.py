"""The command ``tesseral``: from DFT frames to a potential, and what the potential is good for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="tesseral", no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False,
    help="Euclidean neural networks: from DFT frames to a potential that you can trust.",
)  # fmt: skip

Output = Annotated[Path, typer.Option("--output", "-o", help="folder for everything that is written")]
Model = Annotated[Path, typer.Argument(help="a model file, model.safetensors")]
Structure = Annotated[Path, typer.Argument(help="a structure in any format that ASE reads; the last frame is taken")]
Resume = Annotated[bool, typer.Option("--resume", help="continue the run in the output folder")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="discard the run in the output folder")]
Precision = Annotated[str, typer.Option(help="inside the network: float32 or float64; empty: as in the file")]
Backend = Annotated[str, typer.Option(help="kernels: auto, reference, cpu or triton")]


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"tesseral {version('tesseral')}, torch {version('torch')}, Python {sys.version.split()[0]}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the versions and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    output: Output = Path("demo"),
    minutes: Annotated[float, typer.Option(help="of training")] = 7.0,
    picoseconds: Annotated[float, typer.Option(help="of dynamics")] = 2.0,
    seed: int = 0,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a potential for ethanol on embedded DFT data, test it on held-out trajectories, relax and move a molecule with it."""
    from tesseral.interfaces.demo import demonstrate

    if not (0 < minutes < float("inf") and 0 < picoseconds < float("inf")):
        raise ValueError(f"--minutes is {minutes} and --picoseconds is {picoseconds}, expected positive numbers")
    demonstrate(output, minutes=minutes, picoseconds=picoseconds, seed=seed, resume=resume, overwrite=overwrite)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="a settings file; `tesseral config` prints one to start from")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, as in optimizer.lr=0.001")] = None,
    output: Output = Path("run"),
    resume: Resume = False,
    overwrite: Overwrite = False,
    level_of_theory: Annotated[str, typer.Option(help="what the labels are, as in PBE0/def2-SVP; kept in the model file")] = "",
    backend: Backend = "auto",
) -> None:
    """Train a potential on your frames: read, examine, split, train, evaluate, self-test, report.

    Every setting with its default is printed by `tesseral config`.
    """
    from tesseral.interfaces.training import train as run
    from tesseral.interfaces.training_settings import read_training_settings

    settings = read_training_settings(config, overrides or ())
    run(settings, output, resume=resume, overwrite=overwrite, level_of_theory=level_of_theory, backend=backend)


@app.command()
def tensors(
    config: Annotated[Path, typer.Argument(help="a settings file; `tesseral config tensors` prints one to start from")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, as in optimizer.lr=0.001")] = None,
    output: Output = Path("tensors"),
    resume: Resume = False,
    overwrite: Overwrite = False,
    level_of_theory: Annotated[str, typer.Option(help="what the labels are, as in PBE0/def2-SVP; kept in the model file")] = "",
    backend: Backend = "auto",
) -> None:
    """Train dipoles, polarizabilities, other tensors of your frames; `tesseral spectrum --tensors` makes intensities of them."""
    from tesseral.interfaces.tensors import TensorTrainingSettings, learn_tensors
    from tesseral.train.settings_file import read_settings

    settings = read_settings(TensorTrainingSettings, config, overrides or ())
    learn_tensors(settings, output, resume=resume, overwrite=overwrite, level_of_theory=level_of_theory, backend=backend)


@app.command()
def config(
    of: Annotated[str, typer.Argument(help="train, for a potential, or tensors, for dipoles and their kin")] = "train",
) -> None:
    """Print a settings file with every setting, its default and its meaning."""
    from tesseral.interfaces.tensors import TensorTrainingSettings
    from tesseral.interfaces.training_settings import TrainingSettings
    from tesseral.train.settings_file import commented_yaml

    kinds: dict[str, Any] = {"train": TrainingSettings, "tensors": TensorTrainingSettings}
    if of not in kinds:
        raise ValueError(f"there is no command {of!r} with settings, expected train or tensors")
    sys.stdout.write(commented_yaml(kinds[of]))


@app.command()
def evaluate(
    model: Model,
    frames: Annotated[list[Path], typer.Argument(help="files with labelled frames")],
    keys: Annotated[str, typer.Option(help="where labels are, as in '{energy: REF_energy, forces: REF_forces}'")] = "{}",
    units: Annotated[str, typer.Option(help="their units, as in '{energy: Hartree}'")] = "{}",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="write the tables as JSON to this file")] = None,
    report: Annotated[Path | None, typer.Option(help="write tables, parity plots, calibration curves to this HTML page")] = None,
    uncertainty: Annotated[bool, typer.Option(help="also show the calibration of the uncertainty")] = True,
    precision: Precision = "",
    backend: Backend = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the files that it writes")] = False,
) -> None:
    """Errors of a model on labelled frames, and how well its uncertainty foresees them."""
    from tesseral.interfaces.evaluation import evaluate_files

    potential, metadata = _load(model, precision, backend)
    for written in (output, report):
        _check_outputs(written, model, *frames, overwrite=overwrite)
    if output is not None and output == report:
        raise ValueError(f"{output} cannot be the tables and the page; name two files")
    evaluate_files(potential, metadata, frames, keys=keys, units=units, uncertainty=uncertainty, output=output, report=report)


@app.command()
def predict(
    model: Model,
    frames: Annotated[Path, typer.Argument(help="structures in any format that ASE reads")],
    output: Annotated[Path, typer.Option("--output", "-o", help="extended XYZ file to write")],
    precision: Precision = "",
    backend: Backend = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the output file")] = False,
) -> None:
    """Energies (eV), forces (eV/Å) and, for crystals, stress (eV/Å³) of structures, or tensors, written as extended XYZ."""
    from tesseral.interfaces.simulation import predict_file
    from tesseral.interfaces.tensors import predict_tensors
    from tesseral.models.tensor_files import kind_of_tensors, load_tensor_model

    _check_outputs(output, model, frames, overwrite=overwrite)
    if kind_of_tensors(model) == "heads":
        predict_tensors(load_tensor_model(model, backend=backend)[0], frames, output)
        return
    potential, _ = _load(model, precision, backend)
    predict_file(potential, frames, output)


@app.command()
def selftest(
    model: Annotated[Path | None, typer.Argument(help="a model file; without one a small new model is tested")] = None,
    structure: Annotated[Path | None, typer.Option(help="a structure to test on; by default frames of its training")] = None,
    precision: Precision = "",
    backend: Backend = "auto",
) -> None:
    """Measure what a potential must fulfil: symmetries, derivatives, smoothness, extensivity, energy conservation."""
    from ase import Atoms
    from rich.console import Console

    from tesseral.interfaces.console import say_selftest
    from tesseral.interfaces.simulation import check_species, read_structure, run_selftest

    potential, metadata = (None, None) if model is None else _load(model, precision, backend)
    stored = [Atoms(**example) for example in getattr(metadata, "examples", ())]
    examples = stored if structure is None else [read_structure(structure)]
    if potential is not None and structure is not None:
        check_species(potential, examples[0], structure)
    checks = run_selftest(potential, examples)
    say_selftest(Console(), checks)
    if not all(check.passed for check in checks):
        raise typer.Exit(1)


@app.command()
def doctor(
    files: Annotated[list[Path], typer.Argument(help="files with labelled frames, or one model file")],
    keys: Annotated[str, typer.Option(help="where labels are, as in '{energy: REF_energy, forces: REF_forces}'")] = "{}",
    units: Annotated[str, typer.Option(help="their units, as in '{energy: Hartree}'")] = "{}",
    cutoff: Annotated[float, typer.Option(help="the cutoff that you mean to use, in Å")] = 5.0,
) -> None:
    """Examine data before training on them; or say which kernels a model will run on."""
    from rich.console import Console

    from tesseral.interfaces.console import say_complaints
    from tesseral.interfaces.simulation import describe_kernels
    from tesseral.interfaces.training import examine_files

    console = Console()
    if len(files) == 1 and files[0].suffix == ".safetensors":
        for line in describe_kernels(files[0]):
            console.print(line, highlight=False, soft_wrap=True)
        return
    complaints, summary = examine_files(files, keys, units, cutoff)
    console.print(summary, highlight=False, soft_wrap=True)
    say_complaints(console, complaints)
    if any(complaint.severity == "error" for complaint in complaints):
        raise typer.Exit(1)


@app.command()
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

    potential, _ = _load(model, precision, backend)
    _check_outputs(output, model, structure, overwrite=overwrite)
    relax_file(potential, structure, output, fmax=fmax, steps=steps, cell=cell)


@app.command()
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

    potential, metadata = _load(model, precision, backend)
    if resume and overwrite:
        raise ValueError("--resume continues a trajectory and --overwrite discards it; give one of them")
    if not resume:
        for written in (output, output.with_suffix(".csv")):
            _check_outputs(written, model, structure, overwrite=overwrite)
    md_file(
        potential, structure, output, time=time, resume=resume, overwrite=overwrite,
        timestep=timestep, temperature=temperature, ensemble=ensemble, pressure=pressure, interval=every, seed=seed,
        uncertainty=stored(metadata), max_uncertainty=max_uncertainty, stop_uncertain=stop_uncertain,
    )  # fmt: skip


@app.command()
def dispersion(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="model file to write")],
    functional: Annotated[str, typer.Option(help="of the training data, as in pbe")],
    without: Annotated[
        bool, typer.Option("--data-without-dispersion", help="the labels hold none, whatever the file says")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the output file")] = False,
) -> None:
    """Add D3(BJ) dispersion to a model that was trained on labels without any."""
    from tesseral.interfaces.dispersion import add_dispersion

    _check_outputs(output, model, overwrite=overwrite)
    typer.echo(add_dispersion(model, output, functional, without_dispersion=without))


@app.command(context_settings={"ignore_unknown_options": True})
def lammps(
    script: Annotated[Path, typer.Argument(help="an input script with the line `pair_style tesseral model.safetensors`")],
    arguments: Annotated[list[str] | None, typer.Argument(help="for LAMMPS, as in -var T 300")] = None,
    ranks: Annotated[int, typer.Option(help="processes, each with a part of space")] = 1,
    threads: Annotated[int, typer.Option(help="threads of each process")] = 1,
) -> None:
    """Run a LAMMPS script with a model, over any number of processes."""
    from tesseral.interfaces.lammps import launch

    launch(script, ranks, threads, arguments or ())


@app.command()
def export(
    target: Annotated[str, typer.Argument(help="mliap: LAMMPS's `pair_style mliap unified`; aotinductor: a compiled package")],
    model: Model,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="file to write: model.pickle, model.pt2")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the output file")] = False,
) -> None:
    """Write a model for another program: LAMMPS builds with ML-IAP and Python, or Python without the model's code."""
    if target not in ("mliap", "aotinductor"):
        raise ValueError(f"a model is written for mliap (LAMMPS's `pair_style mliap unified`) or aotinductor, not for {target}")
    path = output or Path("model.pickle" if target == "mliap" else "model.pt2")
    _check_outputs(path, model, overwrite=overwrite)
    if target == "mliap":
        from tesseral.interfaces.mliap import export_mliap

        elements = " ".join(export_mliap(model, path, overwrite=overwrite).element_types)
        typer.echo(f"{path}: pair_style mliap unified {path} 0, with pair_coeff * * and elements among {elements}")
    else:
        from tesseral.interfaces.ahead_of_time import export_ahead

        typer.echo("compiling, which takes a minute or two ...")
        export_ahead(model, path, overwrite=overwrite)
        typer.echo(f"{path}: tesseral.interfaces.ahead_of_time.load({str(path)!r})")


@app.command(name="import")
def import_(
    source: Annotated[str, typer.Argument(help="mace (a .model file) or nequip (a .ckpt or .nequip.zip file, of Allegro, too)")],
    file: Annotated[Path, typer.Argument(help="the trained model of that package, which need not be installed")],
    output: Annotated[Path, typer.Option("--output", "-o", help="model file to write")] = Path("model.safetensors"),
    head: Annotated[str, typer.Option(help="of a model of several heads: the energy that it is to give")] = "",
    level_of_theory: Annotated[str, typer.Option(help="what its energies are, as in PBE+U; kept in the model file")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the output file")] = False,
) -> None:
    """Turn a model trained with mace-torch or nequip into a model file of tesseral, with the same energies and forces."""
    from tesseral.interfaces.import_weights import import_model

    _check_outputs(output, file, overwrite=overwrite)
    metadata = import_model(source, file, output, head=head, level_of_theory=level_of_theory)
    settings = metadata.settings
    typer.echo(
        f"{output}: {settings['name']}, {len(metadata.species)} species, cutoff {metadata.cutoff} Å, {metadata.dtype}, "
        f"heads {', '.join(settings.get('heads', ['one']))}"
    )


@app.command()
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


@app.command()
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

    potential, _ = _load(model, precision, backend)
    run(
        potential, structure, output, fmax=fmax, cell=not fixed_cell, supercell=_three(supercell), born=born,
        temperature=temperature, resume=resume, overwrite=overwrite,
    )  # fmt: skip


@app.command()
def spectrum(
    model: Model,
    structure: Structure,
    output: Output = Path("spectrum"),
    tensors: Annotated[Path | None, typer.Option(help="a model of dipole and polarizability, for intensities")] = None,
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

    potential, _ = _load(model, precision, backend)
    spectrum_file(
        potential, structure, output, tensors=tensors, trajectory=trajectory, interval=interval, fmax=fmax, width=width,
        tolerance=tolerance, resume=resume, overwrite=overwrite,
    )  # fmt: skip


@app.command()
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

    potential, _ = _load(model, precision, backend)
    run(potential, structure, output, fmax=fmax, cell=not fixed_cell, resume=resume, overwrite=overwrite)


@app.command()
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

    potential, _ = _load(model, precision, backend)
    run(potential, structure, output, width=width, points=points, fmax=fmax, resume=resume, overwrite=overwrite)


def _three(text: str) -> tuple[int, int, int] | None:
    if not text.strip():
        return None
    words = text.replace("x", " ").replace(",", " ").split()
    if len(words) != 3 or not all(word.isdigit() for word in words):
        raise ValueError(f"--supercell is {text!r}, expected three whole numbers such as '4 4 4'")
    return int(words[0]), int(words[1]), int(words[2])


def _load(path: Path, precision: str, backend: str) -> tuple[Any, Any]:
    import torch

    from tesseral.models import files

    if precision not in ("", "float32", "float64"):
        raise ValueError(f"precision is {precision!r}, expected float32 or float64")
    return files.load(path, dtype=getattr(torch, precision) if precision else None, backend=backend)


def _check_outputs(output: Path | None, *inputs: Path, overwrite: bool = False) -> None:
    """Before any work: the output can be written and nothing is lost by it."""
    if output is None:
        return
    if output.exists() and any(path.exists() and path.samefile(output) for path in inputs):
        raise ValueError(f"{output} is the input; name another file for the output")
    if output.is_dir():
        raise ValueError(f"{output} is a folder; name a file")
    if output.exists() and not overwrite and output.stat().st_size:
        raise ValueError(f"{output} exists; name another file, or give --overwrite to replace it")
    if not output.parent.is_dir():
        raise ValueError(f"there is no folder {output.parent} for {output.name}; make it first")


def main() -> None:
    """The entry point."""
    from tesseral.interfaces.console import run

    run(app)


if __name__ == "__main__":
    main()
