"""Make the embedded data set: ethanol at B3LYP/def2-SVP, with splits by trajectory, minima, Hessians and their derivatives.

    pip install tesseral[dft]
    python recipes/make_embedded_data.py              # an hour or so on two cores; killed, it resumes where it was
    python recipes/make_embedded_data.py --package    # writes the files in tesseral/data/embedded/ from what is finished
    python recipes/make_embedded_data.py --unpack     # the way back: continues from the files in tesseral/data/embedded/

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
# Derivatives of dipole and polarizability are the first and second derivatives of the forces in an electric field (Komornicki
# and McIver, J. Chem. Phys. 70, 2014 (1979)): thirteen gradients a minimum, where displacements would take fifty-four responses.
FIELD = 0.004  # atomic units
FIELD_TOLERANCE = 1e-13  # Hartree: second differences need forces to 1e-8 Hartree/Bohr
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


def run_trajectory(index: int, folder: Path, begun: tuple[Atoms, ...] = ()) -> None:
    """Langevin dynamics of one of ``TRAJECTORIES``, written to ``folder`` with its centre of mass at the origin.

    After the frames in ``begun`` it goes on from the last of them, with new velocities and another equilibration: dynamics is
    chaotic, and another machine's last digits would lead elsewhere.
    """
    temperature, conformer, split = TRAJECTORIES[index]
    path = folder / f"{trajectory_names()[index]}.xyz"
    if path.exists():
        return
    rng = np.random.default_rng([SEED, index, len(begun)] if begun else [SEED, index])
    atoms = starting_geometry(conformer)
    if conformer == "trans":
        atoms.set_constraint(leash(atoms))
    if begun:
        atoms.set_positions(begun[-1].positions, apply_constraint=False)
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
    dynamics = Langevin(
        atoms, TIME_STEP * fs, temperature_K=temperature, friction=FRICTION / fs, fixcm=False, rng=rng, logfile=None
    )
    dynamics.run(round(EQUILIBRATION / TIME_STEP))
    frames, time_fs = list(begun), EQUILIBRATION + (begun[-1].info["time_fs"] if begun else 0.0)
    while len(frames) < number_of_frames(temperature, split):
        dynamics.run(round(SPACING / TIME_STEP))
        time_fs += SPACING
        frames.append(Atoms(atoms.numbers, atoms.positions - atoms.get_center_of_mass(), info={"time_fs": time_fs}))
    partial = path.with_suffix(".partial")
    write(partial, frames, format="extxyz")
    partial.replace(path)


# ------------------------------------------------------------------------------------------------------------------ labels


def self_consistent_field(atoms: Atoms, grid: int, unpaired: int = 0, tolerance: float = SCF_TOLERANCE, electric=None):
    """A converged Kohn-Sham calculation: a coarse grid first, then the real one from its density.

    ``electric`` is a uniform field in atomic units; its potential energy of an electron at r is + E.r.
    """
    from pyscf import dft, gto

    geometry = list(zip(atoms.get_chemical_symbols(), atoms.positions / Bohr))
    mol = gto.M(atom=geometry, unit="Bohr", basis=BASIS, spin=unpaired, verbose=0)

    def calculation(level: int, tolerance: float):
        field = (dft.UKS if unpaired else dft.RKS)(mol, xc=XC).density_fit(auxbasis=AUXILIARY_BASIS)
        field.grids.level, field.conv_tol = level, tolerance
        if electric is not None:
            core = field.get_hcore() + np.einsum("x,xpq->pq", electric, mol.intor_symmetric("int1e_r", comp=3))
            field.get_hcore = lambda *_: core
        return field

    coarse = calculation(1, 1e-5)
    coarse.kernel()
    fine = calculation(grid, tolerance)
    fine.with_df = coarse.with_df
    fine.kernel(dm0=coarse.make_rdm1())
    if not fine.converged:
        raise RuntimeError(f"the SCF of {atoms} did not converge to {tolerance} Hartree")
    return fine


def forces_of(field) -> np.ndarray:
    """Forces in eV/Å."""
    gradient = field.nuc_grad_method()
    gradient.grid_response = True
    return -gradient.kernel() * Hartree / Bohr


def gradient_in_field(atoms: Atoms, electric: np.ndarray) -> np.ndarray:
    """The gradient of the energy (Hartree/Bohr) in a uniform electric field (atomic units)."""
    field = self_consistent_field(atoms, MINIMUM_GRID, tolerance=FIELD_TOLERANCE, electric=electric)
    gradient = field.nuc_grad_method()
    gradient.grid_response = True
    bare, repulsion = gradient.get_hcore, gradient.grad_nuc
    # <grad p| E.r |q>, the part of the basis functions that follow their nuclei; PySCF's get_hcore is minus that of the rest
    slope = np.einsum("c,cxqp->xpq", electric, field.mol.intor("int1e_irp", comp=9).reshape(3, 3, *[field.mol.nao] * 2))
    gradient.get_hcore = lambda mol=None: bare(mol) - slope
    gradient.grad_nuc = lambda *args, **kwargs: repulsion(*args, **kwargs) - np.outer(field.mol.atom_charges(), electric)
    return gradient.kernel()


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


def directions() -> list[tuple[int, int, int]]:
    """Fields, in units of ``FIELD``: none, along the axes and along the diagonals of their planes, both ways."""
    half = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1)]
    return [(0, 0, 0), *half, *[(-x, -y, -z) for x, y, z in half]]


def in_field(conformer: str, x: int, y: int, z: int, folder: Path) -> dict:
    """One of the gradients whose differences give the derivatives of dipole and polarizability."""
    positions = finished(folder)[key_of(("minimum", conformer))]["positions"]
    atoms = Atoms(molecule("CH3CH2OH").numbers, positions)
    return {"gradient": gradient_in_field(atoms, FIELD * np.array([x, y, z])).tolist()}


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
        case "in_field":
            result = in_field(*arguments, folder)
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
    fields = [("in_field", conformer, *direction) for conformer in MINIMA for direction in directions()]
    return [atoms + frames[:FRAMES_BEFORE_MINIMA] + minima + frames[FRAMES_BEFORE_MINIMA:], fields]


def run(folder: Path, workers: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with multiprocessing.Pool(workers) as pool:
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
            for name, array in derivatives(done, conformer).items():
                arrays[f"{conformer}/{name}_derivatives"] = array
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_atomically(OUTPUT / "ethanol_minima.npz", content.getvalue())
    finished_tasks, all_tasks = len(done), sum(map(len, stages()))
    print(f"{len(frames)} frames, minima and atoms from {finished_tasks} of {all_tasks} calculations")


def derivatives(done: dict[str, dict], conformer: str) -> dict[str, np.ndarray]:
    """Derivatives (atom, axis, ...) of dipole (e) and polarizability (Å²) at a minimum; empty while gradients are missing."""
    entries = {d: done.get(key_of(("in_field", conformer, *d))) for d in directions()}
    if not all(entries.values()):
        return {}
    force = {direction: -np.array(entry["gradient"]) for direction, entry in entries.items()}
    unit = np.eye(3, dtype=int)

    def curvature(direction: np.ndarray) -> np.ndarray:
        ahead, behind = force[tuple(direction)], force[tuple(-direction)]
        return (ahead + behind - 2 * force[0, 0, 0]) / FIELD**2

    along = [curvature(axis) for axis in unit]
    dipole = np.stack([(force[tuple(axis)] - force[tuple(-axis)]) / (2 * FIELD) for axis in unit], -1)
    rows = [
        [along[b] if b == c else (curvature(unit[b] + unit[c]) - along[b] - along[c]) / 2 for c in range(3)] for b in range(3)
    ]
    polarizability = np.stack([np.stack(row, -1) for row in rows], -2) * Bohr**2
    return {"dipole": dipole, "polarizability": polarizability}


def unpack(folder: Path) -> None:
    """Write the checkpoint that the packaged files came from, and trajectories that begin with their frames."""
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: give another --folder, or continue that run without --unpack")
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(OUTPUT / "ethanol.extxyz.gz", "rt") as text:
        packaged = read(text, ":", format="extxyz")
    entries, begun = [], [[] for _ in TRAJECTORIES]
    for atoms in packaged:
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "dipole": atoms.get_dipole_moment()}
        if "polarizability" in atoms.info:
            labels["polarizability"] = np.reshape(atoms.info["polarizability"], (3, 3))
        if atoms.info["config_type"] == "isolated_atom":
            entries.append({"key": key_of(("isolated_atom", atoms.get_chemical_symbols()[0])), **record(atoms, labels)})
        elif "trajectory" in atoms.info:
            i = trajectory_names().index(atoms.info["trajectory"])
            time_fs = atoms.info["time_fs"]
            entries.append({"key": key_of(("frame", i, len(begun[i]))), **record(atoms, labels, time_fs=time_fs)})
            begun[i].append(Atoms(atoms.numbers, atoms.positions, info={"time_fs": time_fs}))
    with np.load(OUTPUT / "ethanol_minima.npz") as arrays:
        for conformer in MINIMA:
            names = ("numbers", "positions", "energy", "forces", "dipole", "polarizability", "hessian")
            values = {name: arrays[f"{conformer}/{name}"].tolist() for name in names}
            entries.append({"key": key_of(("minimum", conformer)), **values})
    for i, frames in enumerate(begun):
        run_trajectory(i, folder, tuple(frames))
    (folder / "frames.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    print(f"{len(entries)} calculations taken from {OUTPUT}")


def main(
    folder: Annotated[Path, typer.Option(help="Working folder: trajectories and the checkpoint.")] = Path("embedded-work"),
    package_only: Annotated[bool, typer.Option("--package", help="Write the files from what is finished, and stop.")] = False,
    unpack_first: Annotated[bool, typer.Option("--unpack", help="Begin from the packaged files instead of nothing.")] = False,
    workers: int = WORKERS,
) -> None:
    if unpack_first:
        unpack(folder)
    if not package_only:
        run(folder, workers)
    package(folder)


if __name__ == "__main__":
    typer.run(main)
