"""``python -m cleanse``."""

from cleanse.cli.main import main

if __name__ == "__main__":
    main()
