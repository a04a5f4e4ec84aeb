"""The door to phonopy: standard cells and paths, supercells that enclose a length, force constants folded into one."""

import ase.build
import numpy as np
import torch

from tesseral.physics.force_constants import force_constants
from tesseral.physics.phonons import enclosing, exact_frequencies, standard_path, standard_primitive, to_phonopy
from tests.physics.toys import LennardJones


def test_standard_cells_and_paths():
    turned = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    turned.rotate(31, (1, 2, 3), rotate_cell=True)
    primitive = standard_primitive(turned)
    multiples = turned.cell.array @ np.linalg.inv(primitive.cell.array)
    np.testing.assert_allclose(multiples, np.rint(multiples), atol=1e-6)  # in the orientation of the input
    path = standard_path(primitive)
    assert path.labels[0] == ("Γ", "X")
    np.testing.assert_allclose(path.pieces[0][-1], [0.5, 0, 0.5])
    assert enclosing(primitive.cell.array, 9.0) == (3, 3, 3)


def test_phonopy_is_exact_where_the_supercell_is():
    crystal = ase.build.bulk("NaCl", "rocksalt", a=4.6)
    crystal.rattle(0.05, seed=1)  # no symmetry helps
    constants = force_constants(LennardJones(2.0, 0.3, 4.0, smooth=True, species=(11, 17)), crystal)
    phonopy = to_phonopy(constants, crystal, (3, 2, 1))  # smaller than the range: images of an atom are folded
    fitting, other = np.array([[1 / 3, 0.5, 0], [2 / 3, 0, 0]]), np.array([[0.1, 0.2, 0.3]])
    for points, close in ((fitting, True), (other, False)):
        phonopy.run_qpoints(points)
        exact = exact_frequencies(constants, points)
        assert torch.tensor(exact).isfinite().all()
        assert np.allclose(phonopy.qpoints.frequencies, exact, atol=1e-4) == close
