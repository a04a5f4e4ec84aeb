"""Mistakes with dispersion corrections."""

from __future__ import annotations

from bad_input_table import Bench, Outcome, case


def dispersed(bench: Bench, *options: object, model: str = "model.safetensors", output: str = "d3.safetensors") -> Outcome:
    return bench.run("dispersion", model, "-o", output, *options)


@case("dispersion", "a model that does not say what its labels are", "refuses", "level-of-theory|dftd3")
def _(bench: Bench) -> Outcome:
    return dispersed(bench, "--functional", "pbe")


@case("dispersion", "no functional", "refuses", "functional")
def _(bench: Bench) -> Outcome:
    return dispersed(bench)


@case("dispersion", "a functional that does not exist", "refuses", "pbee|dftd3")
def _(bench: Bench) -> Outcome:
    return dispersed(bench, "--functional", "pbee", "--data-without-dispersion")


@case("dispersion", "the output is the model", "refuses", "is the input")
def _(bench: Bench) -> Outcome:
    return dispersed(bench, "--functional", "pbe", "--overwrite", output="model.safetensors")


@case("dispersion", "the folder of the output is missing", "refuses", "no folder")
def _(bench: Bench) -> Outcome:
    return dispersed(bench, "--functional", "pbe", output="nowhere/d3.safetensors")
