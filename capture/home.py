"""Where this program keeps what it makes: store, trained models, trained SAEs."""

import os
from pathlib import Path


def home_folder() -> Path:
    """`$STEERSCOPE_HOME`, or data/cache beside the program; it need not be there yet."""
    home = os.environ.get("STEERSCOPE_HOME")
    return (Path(home).expanduser() if home else Path(__file__).parent.parent / "data" / "cache").resolve()
