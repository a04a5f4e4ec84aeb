"""``python -m tesseral.interfaces.e3nn [--convention 0.4 | --convention mace=0.4] SCRIPT ARGS | -m MODULE ARGS``."""

import runpy
import sys

from tesseral.interfaces.e3nn import install

USAGE = """usage: python -m tesseral.interfaces.e3nn [--convention C] SCRIPT [ARGS ...]
       python -m tesseral.interfaces.e3nn [--convention C] -m MODULE [ARGS ...]

Runs a script or module in which `import e3nn` means tesseral. C is the sign convention of the Clebsch-Gordan coefficients: 0.6
(default), 0.4 (e3nn 0.4, which MACE needs), or PACKAGE=0.4 for the layers that this package builds (may be repeated)."""


def main(arguments: list[str]) -> int:
    """Run what the arguments say; 2 for a mistake in them."""
    conventions: dict[str, str] = {}
    while arguments and arguments[0].startswith("--convention"):
        option, _, value = arguments.pop(0).partition("=")
        if option != "--convention" or (not value and not arguments):
            return _complain(f"{option} needs a value: 0.6, 0.4 or PACKAGE=0.4")
        package, equals, chosen = (value or arguments.pop(0)).rpartition("=")
        conventions[package if equals else ""] = chosen
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    as_module = arguments[0] == "-m"
    if as_module and len(arguments) < 2:
        return _complain("-m needs the name of a module")
    if arguments[0].startswith("-") and not as_module:
        return _complain(f"unknown option {arguments[0]}; options of the script go after its name")
    try:
        install(conventions or "0.6")
    except ValueError as mistake:
        return _complain(str(mistake))
    if as_module:
        sys.argv = arguments[1:]
        sys.path.insert(0, "")
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
    return 0


def _complain(sentence: str) -> int:
    print(f"{sentence}\n{USAGE}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
