"""``python -m tesseral`` is the command ``tesseral``."""

from tesseral.interfaces.cli import main

if __name__ == "__main__":
    main()
