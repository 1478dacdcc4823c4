"""``python -m cleanse``."""

import os
import sys

if sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]  # Python puts the working directory first, whose files could pass for any module

from cleanse.cli.main import main

if __name__ == "__main__":
    main()
