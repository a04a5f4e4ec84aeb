"""What the commands phonons, elastic and eos cannot do is refused in a sentence."""

import ase
import ase.build
import ase.io
import pytest

from tesseral.interfaces.phonons import phonons
from tesseral.models import files
from tesseral.nn.pair import ZBL
from tesseral.physics.phonons import present
from tests.interfaces.test_cli import command
from tests.physics.toys import LennardJones


def model(sigma=3.4):
    return LennardJones(sigma=sigma, epsilon=0.0104, cutoff=5.4, smooth=True, species=(18,))


@pytest.fixture
def argon(tmp_path):
    ase.io.write(tmp_path / "argon.xyz", ase.build.bulk("Ar", "fcc", a=5.2, cubic=True))
    return tmp_path / "argon.xyz"


def test_what_cannot_be_done_is_a_sentence(argon, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.save(ZBL(4.0, (18,)), tmp_path / "model.safetensors")
    ase.io.write(tmp_path / "molecule.xyz", ase.Atoms("Ar2", positions=[(0, 0, 0), (0, 0, 3)]))
    ase.io.write(tmp_path / "salt.xyz", ase.build.bulk("NaCl", "rocksalt", a=5.6))

    def refused(*words):
        assert command(*words) == 1
        return " ".join(capsys.readouterr().err.split())

    assert "absent.safetensors" in refused("phonons", "absent.safetensors", argon)
    for name in ("phonons", "elastic", "eos"):
        assert "crystal" in refused(name, "model.safetensors", "molecule.xyz")
        assert "not trained on" in refused(name, "model.safetensors", "salt.xyz")
        assert "does not exist" in refused(name, "model.safetensors", "absent.xyz")
        assert "--fmax" in refused(name, "model.safetensors", argon, "--fmax", "-1")
        assert "is a file" in refused(name, "model.safetensors", argon, "-o", argon)
    assert "three whole numbers" in refused("phonons", "model.safetensors", argon, "--supercell", "4 4")
    assert "BORN" in refused("phonons", "model.safetensors", argon, "--born", "nowhere")
    assert "give one of them" in refused("eos", "model.safetensors", argon, "--resume", "--overwrite")


@pytest.mark.parametrize(
    "text",
    [
        "this is\nno BORN file\n",
        "14.4\n2 0 0 0 2 0 0 0 2\n",
        "14.4\n2 0 0 0 2 0 0 0 2\n1 0 0 0 1 0 0 0 1\n-1 0 0 0 -1 0 0 0 -1\n",
    ],
    ids=["words", "too few", "too many"],
)
def test_a_born_file_of_another_cell(argon, tmp_path, text):
    (tmp_path / "BORN").write_text(text)
    with pytest.raises(ValueError, match="does not fit the primitive cell of 1 atoms"):
        phonons(model(), argon, tmp_path / "out", born=tmp_path / "BORN")
    assert not (tmp_path / "out" / "report.html").exists()


def test_an_attribute_that_phonopy_has_not_computed():
    with pytest.raises(RuntimeError, match="not computed bands"):
        present(None, "bands")
