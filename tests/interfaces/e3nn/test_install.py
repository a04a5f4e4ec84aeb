"""``import e3nn`` means tesseral: in a process of its own, where nothing else has imported e3nn."""

import subprocess
import sys
import textwrap

import pytest

from tesseral.interfaces.e3nn import _convention, convention, install, using


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_modules_are_the_same_under_both_names():
    script = """
        from tesseral.interfaces.e3nn import install
        install({"mace_like": "0.4"})
        import e3nn, e3nn.o3._wigner, e3nn.util.jit as jit
        from e3nn import o3
        from e3nn.o3._tensor_product._sub import FullyConnectedTensorProduct
        from e3nn.o3.irrep import l1o
        import tesseral.interfaces.e3nn.o3 as ours
        assert o3 is ours and e3nn.o3 is ours
        assert FullyConnectedTensorProduct is ours.FullyConnectedTensorProduct
        assert ours.__spec__.name == "tesseral.interfaces.e3nn.o3", ours.__spec__
        assert l1o == o3.Irrep("1o")
        try:
            import e3nn.nothing
        except ModuleNotFoundError as absent:
            assert "e3nn.nothing" in str(absent)
        # one process, two conventions: by the package that builds
        import types
        here = types.ModuleType("mace_like.blocks")
        code = "from e3nn import o3\\ndef build(): return o3.wigner_3j(1, 2, 2)"
        exec(code, here.__dict__)
        there = types.ModuleType("nequip_like.blocks")
        exec(code, there.__dict__)
        assert (here.build() == -there.build()).all() and here.build().abs().sum() > 0
        import pickle
        layer = pickle.loads(pickle.dumps(o3.Linear("2x0e", "1x0e")))
        print("done", layer)
    """
    done = run("-c", textwrap.dedent(script))
    assert done.stdout.startswith("done Linear("), done.stderr


def test_a_script_and_its_arguments(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys, e3nn.o3\nprint(sys.argv[1:], e3nn.__file__, float(e3nn.o3.wigner_3j(1, 2, 2)[0, 0, 1]) > 0)")
    done = run("-m", "tesseral.interfaces.e3nn", "--convention", "0.4", str(script), "--option", "7")
    assert "['--option', '7']" in done.stdout, done.stderr
    assert "tesseral" in done.stdout
    assert done.stdout.rstrip().endswith("True")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--convention", "0.5", "x.py"], "unknown convention '0.5'"),
        (["--convention"], "needs a value"),
        (["-m"], "needs the name of a module"),
        (["--fast", "x.py"], "unknown option --fast"),
    ],
)
def test_mistakes_get_a_sentence(arguments, sentence, capsys):
    from tesseral.interfaces.e3nn.__main__ import main

    assert main(list(arguments)) == 2
    assert sentence in capsys.readouterr().err


def test_another_e3nn_in_the_way_is_named():
    import e3nn.o3  # noqa: F401  the real one

    with pytest.raises(RuntimeError, match=r"already imported from .*site-packages.*before the first import"):
        install()


def test_conventions_by_block_and_default():
    assert convention() == "0.6"
    with using("0.4"), using("0.6"):
        assert convention() == "0.6"
    try:
        _convention.choose({"": "0.4", "tests": "0.6"})
        assert convention() == "0.6"  # this package is "tests"
        _convention.choose("0.4")
        assert convention() == "0.4"
    finally:
        _convention.choose("0.6")
    with pytest.raises(ValueError, match=r"expected '0\.6'"):
        install("0.5")
