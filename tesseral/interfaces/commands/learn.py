"""Commands that learn from frames, and judge what was learnt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tesseral.interfaces.commands.options import Backend, Model, Output, Overwrite, Precision, Resume, check_outputs, load_model


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

    potential, metadata = load_model(model, precision, backend)
    for written in (output, report):
        check_outputs(written, model, *frames, overwrite=overwrite)
    if output is not None and output == report:
        raise ValueError(f"{output} cannot be the tables and the page; name two files")
    evaluate_files(potential, metadata, frames, keys=keys, units=units, uncertainty=uncertainty, output=output, report=report)


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
    from tesseral.models.tensor_files import holds_tensors, load_tensor_model

    check_outputs(output, model, frames, overwrite=overwrite)
    if holds_tensors(model):
        predict_tensors(load_tensor_model(model, backend=backend)[0], frames, output)
        return
    potential, _ = load_model(model, precision, backend)
    predict_file(potential, frames, output)


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

    potential, metadata = (None, None) if model is None else load_model(model, precision, backend)
    stored = [Atoms(**example) for example in getattr(metadata, "examples", ())]
    examples = stored if structure is None else [read_structure(structure)]
    if potential is not None and structure is not None:
        check_species(potential, examples[0], structure)
    checks = run_selftest(potential, examples)
    say_selftest(Console(), checks)
    if not all(check.passed for check in checks):
        raise typer.Exit(1)


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

    check_outputs(output, model, overwrite=overwrite)
    typer.echo(add_dispersion(model, output, functional, without_dispersion=without))
