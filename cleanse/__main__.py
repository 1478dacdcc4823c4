"""``python -m cleanse``."""

from cleanse.main import main

if __name__ == "__main__":
    main()
