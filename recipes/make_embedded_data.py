"""Make the embedded data set: ethanol at B3LYP/def2-SVP, with splits by trajectory, minima, Hessians and their derivatives.

    pip install tesseral[dft]
    python recipes/make_embedded_data.py              # an hour or so on two cores; killed, it resumes where it was
    python recipes/make_embedded_data.py --package    # writes the files in tesseral/data/embedded/ from what is finished

Geometries come from GFN2-xTB Langevin dynamics, so they cost nothing and visit every conformer; labels come from DFT. A whole
trajectory belongs to one split, so no test frame neighbours a training frame in time, and all of 700 K is test. Every finished
calculation is one line of ``frames.jsonl`` in the working folder.
"""

# One thread for each worker: at nine atoms, two workers of one thread do twice the work of one worker of two.
import os

os.environ["OMP_NUM_THREADS"] = "1"

import gzip
import io
import json
import multiprocessing
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import Hookean
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.optimize import BFGS
from ase.units import Bohr, Hartree, fs

# ---------------------------------------------------------------------------------------------------------------- settings

SEED = 20
WORKERS = 2
OUTPUT = Path(__file__).parents[1] / "tesseral" / "data" / "embedded"

# Level of theory. B3LYP with VWN-RPA correlation, as in Gaussian. The forces include the response of the integration grid, so
# they are the derivative of the printed energy and add up to zero; what the grid leaves is 0.4 meV/Å (level 3) or 0.02 (level 4).
XC, BASIS, AUXILIARY_BASIS = "b3lypg", "def2-svp", "def2-universal-jkfit"
FRAME_GRID, MINIMUM_GRID = 3, 4  # PySCF's grid levels; the isolated atoms use the finer one too
SCF_TOLERANCE = 1e-10  # Hartree
METHOD = f"B3LYP/def2-SVP, density fitting ({AUXILIARY_BASIS}), grid response in the forces, PySCF"
UNITS = "eV, Angstrom; dipole e*Angstrom; polarizability Angstrom^3 (volume, alpha/4 pi epsilon_0)"

# Sampling: GFN2-xTB Langevin dynamics.
TIME_STEP, FRICTION = 0.5, 0.02  # fs, 1/fs
EQUILIBRATION, SPACING = 1000.0, 200.0  # fs
# Left to itself GFN2-xTB leaves trans within a picosecond and hardly returns, so trajectories of trans are kept on a leash: a
# spring (eV/Å²) from the hydroxyl hydrogen to each hydrogen of CH2, slack below the distances (Å) of trans. No label contains it.
LEASH_STIFFNESS, LEASH_LENGTH = 20.0, 2.5
FRAMES = {"train": 46, "valid": 34, "test": 34, "700K": 32}  # frames of one trajectory
TRAJECTORIES = [  # (temperature, starting conformer, split)
    (300, "trans", "train"),
    (300, "gauche+", "train"),
    (300, "gauche-", "train"),
    (300, "trans", "valid"),
    (300, "gauche+", "train"),
    (300, "gauche-", "test"),
    (500, "trans", "train"),
    (500, "gauche+", "train"),
    (500, "gauche-", "train"),
    (500, "trans", "test"),
    (500, "gauche+", "valid"),
    (500, "gauche-", "train"),
    (700, "trans", "test"),
    (700, "gauche+", "test"),
    (700, "gauche-", "test"),
]
POLARIZABILITY_EVERY = 10  # frames of a trajectory

# Minima: gauche- is the mirror image of gauche+, so two suffice. The gauche minimum and its Hessian are held out.
MINIMA = {"trans": "train", "gauche+": "test"}
FORCE_TOLERANCE = 5e-4  # eV/Å
DISPLACEMENT = 0.01  # Å, central differences of dipole and polarizability
FRAMES_BEFORE_MINIMA = 250

ISOLATED_ATOMS = {"H": 1, "C": 2, "O": 2}  # unpaired electrons of the ground state

# -------------------------------------------------------------------------------------------------------------- geometries


def hydroxyl_dihedral(atoms: Atoms) -> tuple[int, int, int, int]:
    """Indices of C-C-O-H, found by distances."""
    symbols, distances = np.array(atoms.get_chemical_symbols()), atoms.get_all_distances()
    oxygen = int(np.flatnonzero(symbols == "O")[0])
    near, far = sorted(np.flatnonzero(symbols == "C"), key=lambda carbon: distances[oxygen, carbon])
    hydrogen = min(np.flatnonzero(symbols == "H"), key=lambda h: distances[oxygen, h])
    return int(far), int(near), oxygen, int(hydrogen)


def conformer_of(atoms: Atoms) -> str:
    """The well in which the C-C-O-H dihedral lies: trans beyond 120 degrees, else gauche+ or gauche- by its sign."""
    angle = (atoms.get_dihedral(*hydroxyl_dihedral(atoms)) + 180) % 360 - 180
    return "trans" if abs(angle) > 120 else "gauche+" if angle > 0 else "gauche-"


def starting_geometry(conformer: str) -> Atoms:
    """Ethanol in one conformer, relaxed with GFN2-xTB."""
    from tblite.ase import TBLite

    atoms = molecule("CH3CH2OH")
    dihedral = hydroxyl_dihedral(atoms)
    atoms.set_dihedral(*dihedral, {"trans": 180, "gauche+": 60, "gauche-": -60}[conformer], indices=[dihedral[3]])
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    BFGS(atoms, logfile=None).run(fmax=0.01)
    assert conformer_of(atoms) == conformer
    return atoms


def leash(atoms: Atoms) -> list[Hookean]:
    """One-sided springs that keep the molecule in the trans well."""
    _, near, _, hydroxyl = hydroxyl_dihedral(atoms)
    methylene = np.flatnonzero((atoms.numbers == 1) & (atoms.get_all_distances()[near] < 1.3))
    return [Hookean(hydroxyl, int(hydrogen), LEASH_STIFFNESS, LEASH_LENGTH) for hydrogen in methylene]


def trajectory_names() -> list[str]:
    """One identifier for each of ``TRAJECTORIES``, such as ``300K-4-gauche+``."""
    return [f"{temperature}K-{i}-{conformer}" for i, (temperature, conformer, _) in enumerate(TRAJECTORIES)]


def number_of_frames(temperature: int, split: str) -> int:
    return FRAMES["700K"] if temperature == 700 else FRAMES[split]


def run_trajectory(index: int, folder: Path) -> None:
    """Langevin dynamics of one of ``TRAJECTORIES``, written to ``folder`` with its centre of mass at the origin."""
    temperature, conformer, split = TRAJECTORIES[index]
    path = folder / f"{trajectory_names()[index]}.xyz"
    if path.exists():
        return
    rng = np.random.default_rng([SEED, index])
    atoms = starting_geometry(conformer)
    if conformer == "trans":
        atoms.set_constraint(leash(atoms))
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
    dynamics = Langevin(
        atoms, TIME_STEP * fs, temperature_K=temperature, friction=FRICTION / fs, fixcm=False, rng=rng, logfile=None
    )
    dynamics.run(round(EQUILIBRATION / TIME_STEP))
    frames = []
    for _ in range(number_of_frames(temperature, split)):
        dynamics.run(round(SPACING / TIME_STEP))
        frame = Atoms(atoms.numbers, atoms.positions - atoms.get_center_of_mass())
        frame.info["time_fs"] = EQUILIBRATION + SPACING * (len(frames) + 1)
        frames.append(frame)
    partial = path.with_suffix(".partial")
    write(partial, frames, format="extxyz")
    partial.replace(path)


# ------------------------------------------------------------------------------------------------------------------ labels


def self_consistent_field(atoms: Atoms, grid: int, unpaired: int = 0):
    """A converged Kohn-Sham calculation: a coarse grid first, then the real one from its density."""
    from pyscf import dft, gto

    geometry = list(zip(atoms.get_chemical_symbols(), atoms.positions / Bohr))
    mol = gto.M(atom=geometry, unit="Bohr", basis=BASIS, spin=unpaired, verbose=0)

    def calculation(level: int, tolerance: float):
        field = (dft.UKS if unpaired else dft.RKS)(mol, xc=XC).density_fit(auxbasis=AUXILIARY_BASIS)
        field.grids.level, field.conv_tol = level, tolerance
        return field

    coarse = calculation(1, 1e-5)
    coarse.kernel()
    fine = calculation(grid, SCF_TOLERANCE)
    fine.with_df = coarse.with_df
    fine.kernel(dm0=coarse.make_rdm1())
    if not fine.converged:
        raise RuntimeError(f"the SCF of {atoms} did not converge to {SCF_TOLERANCE} Hartree")
    return fine


def forces_of(field) -> np.ndarray:
    """Forces in eV/Å."""
    gradient = field.nuc_grad_method()
    gradient.grid_response = True
    return -gradient.kernel() * Hartree / Bohr


def polarizability_of(field) -> np.ndarray:
    r"""Static polarizability volume in Å³, from the coupled perturbed equations:
    :math:`\alpha_{xy} = -4\sum_{ai} \langle a|x|i\rangle U^y_{ai}`."""
    from pyscf.scf import cphf

    occupied, virtual = field.mo_coeff[:, field.mo_occ > 0], field.mo_coeff[:, field.mo_occ == 0]
    position = np.einsum("pa,xpq,qi->xai", virtual, field.mol.intor_symmetric("int1e_r", comp=3), occupied)
    response = field.gen_response(hermi=1)

    def induced(change: np.ndarray) -> np.ndarray:
        density = 2 * np.einsum("pa,xai,qi->xpq", virtual, change.reshape(-1, *position.shape[1:]), occupied)
        potential = response(density + density.transpose(0, 2, 1))
        return np.einsum("pa,xpq,qi->xai", virtual, potential, occupied)

    change = cphf.solve(induced, field.mo_energy, field.mo_occ, position)[0].reshape(position.shape)
    alpha = -4 * np.einsum("xai,yai->xy", position, change)
    return (alpha + alpha.T) / 2 * Bohr**3


def labels_of(atoms: Atoms, grid: int, forces: bool = True, polarizability: bool = True) -> dict:
    """Energy (eV), dipole (e·Å) and on request forces (eV/Å) and polarizability (Å³) of a molecule."""
    field = self_consistent_field(atoms, grid)
    labels = {"energy": field.e_tot * Hartree, "dipole": field.dip_moment(unit="AU", verbose=0) * Bohr}
    if forces:
        labels["forces"] = forces_of(field)
    if polarizability:
        labels["polarizability"] = polarizability_of(field)
    return labels


class DFT(Calculator):
    """``labels_of`` as an ASE calculator, for the relaxations."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = labels_of(self.atoms, MINIMUM_GRID, polarizability=False)


# ------------------------------------------------------------------------------------------------------------------- tasks
# A task is (kind, *arguments), known by its key; its record is a dictionary that JSON can hold.


def key_of(task: tuple) -> str:
    return "/".join(map(str, task))


def isolated_atom(symbol: str) -> dict:
    atom = Atoms(symbol, positions=[[0.0, 0.0, 0.0]])
    energy = self_consistent_field(atom, MINIMUM_GRID, unpaired=ISOLATED_ATOMS[symbol]).e_tot * Hartree
    return record(atom, {"energy": energy, "forces": np.zeros((1, 3)), "dipole": np.zeros(3)})


def frame(index: int, k: int, folder: Path) -> dict:
    atoms = read(folder / f"{trajectory_names()[index]}.xyz", k)
    labels = labels_of(atoms, FRAME_GRID, polarizability=k % POLARIZABILITY_EVERY == 0)
    return record(atoms, labels, time_fs=atoms.info["time_fs"])


def minimum(conformer: str) -> dict:
    """The relaxed conformer, with its analytic Hessian in eV/Å² as (atom, axis, atom, axis).

    The analytic Hessian lacks the response of the grid, which leaves an asymmetry of about 1e-3 eV/Å²: its mean is kept.
    """
    atoms = starting_geometry(conformer)
    atoms.calc = DFT()
    if not BFGS(atoms, logfile=None, maxstep=0.1).run(fmax=FORCE_TOLERANCE, steps=60):
        raise RuntimeError(f"{conformer} did not relax to {FORCE_TOLERANCE} eV/Å in 60 steps")
    assert conformer_of(atoms) == conformer
    atoms.positions -= atoms.get_center_of_mass()
    hessian = self_consistent_field(atoms, MINIMUM_GRID).Hessian().kernel().transpose(0, 2, 1, 3) * Hartree / Bohr**2
    hessian = (hessian + hessian.transpose(2, 3, 0, 1)) / 2
    return record(atoms, labels_of(atoms, MINIMUM_GRID), hessian=hessian.tolist())


def displaced(conformer: str, atom: int, axis: int, sign: int, folder: Path) -> dict:
    """One of the displaced minima whose central differences give dipole and polarizability derivatives."""
    positions = finished(folder)[key_of(("minimum", conformer))]["positions"]
    atoms = Atoms(molecule("CH3CH2OH").numbers, positions)
    atoms.positions[atom, axis] += sign * DISPLACEMENT
    return record(atoms, labels_of(atoms, MINIMUM_GRID, forces=False))


def record(atoms: Atoms, labels: dict, **rest) -> dict:
    arrays = {"numbers": atoms.numbers, "positions": atoms.positions, **labels}
    return {name: np.asarray(array).tolist() for name, array in arrays.items()} | rest


def perform(job: tuple[tuple, Path]) -> dict:
    """Run one task in a worker."""
    (kind, *arguments), folder = job
    start = time.time()
    match kind:
        case "isolated_atom":
            result = isolated_atom(*arguments)
        case "frame":
            result = frame(*arguments, folder)
        case "minimum":
            result = minimum(*arguments)
        case "displaced":
            result = displaced(*arguments, folder)
    return {"key": key_of((kind, *arguments)), "seconds": round(time.time() - start, 1), **result}


def finished(folder: Path) -> dict[str, dict]:
    """Records by key; a line cut short by a kill is skipped and made again."""
    records = {}
    path = folder / "frames.jsonl"
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        records[entry["key"]] = entry
    return records


def stages() -> list[list[tuple]]:
    """All tasks, in order of need: frames round robin over the trajectories, so that a part of them is a usable set."""
    counts = [number_of_frames(temperature, split) for temperature, _, split in TRAJECTORIES]
    frames = [("frame", i, k) for k in range(max(counts)) for i, count in enumerate(counts) if k < count]
    atoms = [("isolated_atom", symbol) for symbol in ISOLATED_ATOMS]
    minima = [("minimum", conformer) for conformer in MINIMA]
    number = len(molecule("CH3CH2OH"))
    displacements = [
        ("displaced", conformer, atom, axis, sign)
        for conformer in MINIMA
        for atom in range(number)
        for axis in range(3)
        for sign in (1, -1)
    ]
    return [atoms + frames[:FRAMES_BEFORE_MINIMA] + minima + frames[FRAMES_BEFORE_MINIMA:], displacements]


def run(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with multiprocessing.Pool(WORKERS) as pool:
        pool.starmap(run_trajectory, [(i, folder) for i in range(len(TRAJECTORIES))], chunksize=1)
        for stage in stages():
            done = finished(folder)
            todo = [task for task in stage if key_of(task) not in done]
            with open(folder / "frames.jsonl", "a") as checkpoint:
                checkpoint.write("\n")  # ends a line that a kill cut short
                for number, entry in enumerate(pool.imap_unordered(perform, [(task, folder) for task in todo]), 1):
                    checkpoint.write(json.dumps(entry) + "\n")
                    checkpoint.flush()
                    print(f"{time.strftime('%H:%M:%S')} {number}/{len(todo)} {entry['key']} {entry['seconds']} s", flush=True)


# --------------------------------------------------------------------------------------------------------------- packaging


def labelled(entry: dict, **info) -> Atoms:
    """The record as an ASE molecule that carries its labels and says how they were made."""
    atoms = Atoms(entry["numbers"], entry["positions"])
    atoms.info = info | {"method": METHOD, "units": UNITS, "seed": SEED}
    if "polarizability" in entry:
        atoms.info["polarizability"] = np.array(entry["polarizability"]).ravel()
    labels = {name: np.array(entry[name]) for name in ("forces", "dipole")}
    atoms.calc = SinglePointCalculator(atoms, energy=entry["energy"], **labels)
    return atoms


def write_atomically(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)


def package(folder: Path) -> None:
    """Write ``ethanol.extxyz.gz`` and ``ethanol_minima.npz`` from what is finished."""
    done = finished(folder)
    frames = []
    for symbol in ISOLATED_ATOMS:
        if entry := done.get(key_of(("isolated_atom", symbol))):
            frames.append(labelled(entry, config_type="isolated_atom", split="train"))
    for conformer, split in MINIMA.items():
        if entry := done.get(key_of(("minimum", conformer))):
            frames.append(labelled(entry, config_type="minimum", conformer=conformer, split=split))
    for i, (temperature, _, split) in enumerate(TRAJECTORIES):
        for k in range(number_of_frames(temperature, split)):
            if entry := done.get(key_of(("frame", i, k))):
                info = {"config_type": f"{temperature}K", "trajectory": trajectory_names()[i], "temperature": temperature}
                conformer = conformer_of(Atoms(entry["numbers"], entry["positions"]))
                frames.append(labelled(entry, **info, time_fs=entry["time_fs"], conformer=conformer, split=split))
    text = io.StringIO()
    write(text, frames, format="extxyz")
    write_atomically(OUTPUT / "ethanol.extxyz.gz", gzip.compress(text.getvalue().encode(), mtime=0))

    arrays = {"metadata": json.dumps({"method": METHOD, "units": UNITS, "seed": SEED, "splits": MINIMA})}
    for conformer in MINIMA:
        if entry := done.get(key_of(("minimum", conformer))):
            arrays[f"{conformer}/numbers"] = entry["numbers"]
            for name in ("positions", "energy", "forces", "dipole", "polarizability", "hessian"):
                arrays[f"{conformer}/{name}"] = np.array(entry[name])
            for name in ("dipole", "polarizability"):
                arrays[f"{conformer}/{name}_derivatives"] = derivative(done, conformer, name)
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_atomically(OUTPUT / "ethanol_minima.npz", content.getvalue())
    finished_tasks, all_tasks = len(done), sum(map(len, stages()))
    print(f"{len(frames)} frames, minima and atoms from {finished_tasks} of {all_tasks} calculations")


def derivative(done: dict[str, dict], conformer: str, name: str) -> np.ndarray:
    """Central differences (atom, axis, ...) of a label at a minimum, NaN where a displacement is not finished."""
    at_minimum = done[key_of(("minimum", conformer))]
    unfinished = np.full(np.shape(at_minimum[name]), np.nan)

    def label(atom: int, axis: int, sign: int) -> np.ndarray:
        entry = done.get(key_of(("displaced", conformer, atom, axis, sign)))
        return np.array(entry[name]) if entry else unfinished

    atoms = range(len(at_minimum["numbers"]))
    return np.array([[label(a, x, 1) - label(a, x, -1) for x in range(3)] for a in atoms]) / (2 * DISPLACEMENT)


def main(
    folder: Annotated[Path, typer.Option(help="Working folder: trajectories and the checkpoint.")] = Path("embedded-work"),
    package_only: Annotated[bool, typer.Option("--package", help="Write the files from what is finished, and stop.")] = False,
) -> None:
    if not package_only:
        run(folder)
    package(folder)


if __name__ == "__main__":
    typer.run(main)
