"""The Python environment that the comparison needs, made outside the source tree."""

import os
import platform
import subprocess
import sys
import venv
from pathlib import Path

PACKAGES = ["transformer-lens==2.18.0", "pyarrow<20", "datasets<4"]
TORCH = "2.13.0"
INSIDE = "PATCHBAY_COMPARE_INSIDE"


def default_folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "patchbay" / "venv-tl2"


def enter(python: str | None):
    """Goes on in an interpreter that has TransformerLens: the given one, or our own venv."""
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    if os.environ.get(INSIDE):
        return
    os.environ[INSIDE] = "1"
    python = python or str(make(default_folder()))
    os.execv(python, [python, *sys.argv])


def make(folder: Path) -> Path:
    """Creates the venv unless it is whole already; returns its interpreter."""
    python, done = folder / "bin" / "python", folder / "patchbay-ready"
    if done.exists():
        return python
    if sys.version_info >= (3, 13):
        sys.exit("TransformerLens 2.18 wants Python 3.10 to 3.12; name one with --python.")
    print(f"Making {folder} (torch and TransformerLens, about 1.5 GB, once)", file=sys.stderr)
    venv.create(folder, with_pip=True, clear=True)
    install = [python, "-m", "pip", "install", "--quiet"]
    on_x86_linux = (platform.system(), platform.machine()) == ("Linux", "x86_64")
    cpu_only = [*install, f"torch=={TORCH}+cpu"]  # without gigabytes of CUDA libraries
    if not on_x86_linux or subprocess.run(cpu_only, stderr=subprocess.DEVNULL).returncode:
        subprocess.run([*install, f"torch=={TORCH}"], check=True)
    subprocess.run([*install, *PACKAGES], check=True)
    done.touch()
    return python


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return f"{platform.system()} {platform.machine()}"
