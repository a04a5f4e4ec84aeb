"""Mistakes in scripts of LAMMPS."""

from __future__ import annotations

from bad_input_table import Bench, Outcome, case


def script(bench: Bench, text: str, *options: object) -> Outcome:
    (bench / "in.script").write_text(text)
    return bench.run("lammps", "in.script", *options)


@case("lammps", "the script is missing", "refuses", r"absent\.script")
def _(bench: Bench) -> Outcome:
    return bench.run("lammps", "absent.script")


@case("lammps", "no pair_style", "refuses", "pair_style tesseral MODEL")
def _(bench: Bench) -> Outcome:
    return script(bench, "units metal\nrun 1\n")


@case("lammps", "two lines pair_style", "refuses", "2 lines", "expected one")
def _(bench: Bench) -> Outcome:
    return script(bench, 2 * "pair_style tesseral model.safetensors\npair_coeff * * Cu\n")


@case("lammps", "no pair_coeff", "refuses", r"pair_coeff \* \*", "element")
def _(bench: Bench) -> Outcome:
    return script(bench, "pair_style tesseral model.safetensors\nrun 1\n")


@case("lammps", "pair_coeff with an element that is none", "refuses", "Qq", "elements")
def _(bench: Bench) -> Outcome:
    return script(bench, "pair_style tesseral model.safetensors\npair_coeff * * Qq\n")


@case("lammps", "the model of the script is missing", "refuses", r"absent\.safetensors")
def _(bench: Bench) -> Outcome:
    return script(bench, "pair_style tesseral absent.safetensors\npair_coeff * * Cu\n")


@case("lammps", "--ranks 0", "refuses", "--ranks is 0", "positive")
def _(bench: Bench) -> Outcome:
    return script(bench, "pair_style tesseral model.safetensors\npair_coeff * * Cu\n", "--ranks", "0")


@case("lammps", "a script that is not UTF-8", "refuses", r"in\.script", "UTF-8")
def _(bench: Bench) -> Outcome:
    (bench / "in.script").write_bytes("# Größe\nrun 1\n".encode("latin-1"))
    return bench.run("lammps", "in.script")


@case("lammps", "an option that is none", "refuses", "float16", "float32")
def _(bench: Bench) -> Outcome:
    return script(bench, "pair_style tesseral model.safetensors float16\npair_coeff * * Cu\n")


OURS = "pair_style tesseral model.safetensors\npair_coeff * * Cu\n"


@case("lammps", "run_style respa, which leaves out the forces", "refuses", "run_style verlet")
def _(bench: Bench) -> Outcome:
    return script(bench, OURS + "run_style respa 2 2\nrun 1\n")


@case("lammps", "comm_modify cutoff, which hides ghosts", "refuses", "leave out the cutoff")
def _(bench: Bench) -> Outcome:
    return script(bench, OURS + "comm_modify mode single cutoff 3.0\nrun 1\n")


@case("lammps", "fix setforce above pair_style, which has no effect", "refuses", "move it below")
def _(bench: Bench) -> Outcome:
    return script(bench, "fix 1 all setforce 0 0 0\n" + OURS)


@case("lammps", "compute stress/atom, which would be zero", "refuses", "single atoms")
def _(bench: Bench) -> Outcome:
    return script(bench, OURS + "compute 1 all stress/atom NULL\nrun 1\n")


@case("lammps", "atom_modify id no", "refuses", "leave it out")
def _(bench: Bench) -> Outcome:
    return script(bench, "atom_modify id no\n" + OURS)
