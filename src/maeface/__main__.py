"""``python -m maeface`` is ``maeface``."""

from maeface.cli import main

if __name__ == "__main__":
    main()
