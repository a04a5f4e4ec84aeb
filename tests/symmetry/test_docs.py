"""What docs/symmetry.md shows runs, and gives what its comments say."""

import pathlib
import re

import pytest

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "symmetry.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=["relaxed", "order", "sets"])
def test_examples_run(code, capsys):
    exec(code, {})
    printed = capsys.readouterr().out
    for said in re.findall(r"print\(.*\)  # (.*)", code):
        if said[0] in "TDO[":  # comments that quote the result
            assert said in printed


def test_recipes_named_exist():
    for path in re.findall(r"`python (recipes/\w+\.py)", PAGE):
        assert (pathlib.Path(__file__).parents[2] / path).exists()
