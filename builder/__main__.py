"""``python -m builder``: the command ``pybuild`` for who has the package and no program on the path."""

from builder.cli.entry import run

if __name__ == "__main__":
    run()
