"""Files of arrays and folders of DeePMD-kit that lack something, contradict themselves, or are of other units."""

from __future__ import annotations

import numpy as np
from bad_input_table import Bench, Outcome, case, molecules


def _ethanol() -> dict[str, np.ndarray]:
    """Molecules as MD17 keeps them."""
    frames = molecules()
    return {
        "z": frames[0].numbers,
        "R": np.array([atoms.positions for atoms in frames]),
        "E": np.array([[atoms.get_potential_energy()] for atoms in frames]),
        "F": np.array([atoms.get_forces() for atoms in frames]),
    }


def _train(bench: Bench, name: str, *words: str) -> Outcome:
    return bench.train(None, f"data.train={name}", "data.keys={energy: E, forces: F}", "data.split.valid=2", *words)


@case("arrays", "an npz file that says kcal/mol, read as eV", "refuses", r"md\.npz", "kcal/mol", r"data\.units\.energy")
def _(bench: Bench) -> Outcome:
    np.savez(bench / "md.npz", **_ethanol(), e_unit="kcal/mol", r_unit="Ang")
    return _train(bench, "md.npz")


@case("arrays", "an npz file without positions", "refuses", r"md\.npz", "positions", "z, E, F")
def _(bench: Bench) -> Outcome:
    arrays = _ethanol()
    del arrays["R"]
    np.savez(bench / "md.npz", **arrays)
    return _train(bench, "md.npz")


@case("arrays", "an npz file with the elements of another molecule", "refuses", r"md\.npz", "do not fit")
def _(bench: Bench) -> Outcome:
    np.savez(bench / "md.npz", **(_ethanol() | {"z": np.array([8, 1, 1])}))
    return _train(bench, "md.npz")


@case("arrays", "half an npz file", "refuses", r"md\.npz", "complete")
def _(bench: Bench) -> Outcome:
    np.savez(bench / "md.npz", **_ethanol())
    whole = (bench / "md.npz").read_bytes()
    (bench / "md.npz").write_bytes(whole[: len(whole) // 2])
    return _train(bench, "md.npz")


@case("arrays", "an npz file of MD17 without naming its keys", "refuses", r"md\.npz", "'E'", r"keys\.energy")
def _(bench: Bench) -> Outcome:
    np.savez(bench / "md.npz", **_ethanol())
    return bench.train(None, "data.train=md.npz", "data.split.valid=2")


@case("arrays", "a system of DeePMD-kit without the names of its types", "refuses", "system", r"type_map\.raw")
def _(bench: Bench) -> Outcome:
    arrays = _ethanol()
    (bench / "system" / "set.000").mkdir(parents=True)
    (bench / "system" / "type.raw").write_text(" ".join("2" if z == 8 else "1" if z == 6 else "0" for z in arrays["z"]))
    for name, values in {"coord": arrays["R"], "energy": arrays["E"], "force": arrays["F"]}.items():
        np.save(bench / "system" / "set.000" / f"{name}.npy", values.reshape(len(values), -1))
    return bench.train(None, "data.train=system", "data.split.valid=2")
