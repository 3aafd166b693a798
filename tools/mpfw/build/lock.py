# SPDX-License-Identifier: MIT
"""Make the locks from pyproject.toml: every package of build/venv, with digests.

Runs pip-tools in a virtual environment of its own under build/. Standard library only.
"""

import subprocess
import sys
from pathlib import Path

from mpfw import paths

PIP_TOOLS = "pip-tools==7.6.2"
HEADER = """\
# Every Python package of build/venv with its digests, for pip's --require-hashes.
# Made from pyproject.toml by `make lock`; not edited by hand.
"""
OPTIONS = """
    --quiet --generate-hashes --allow-unsafe --strip-extras --no-header
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options
""".split()


def main() -> None:
    venv = paths.BUILD / "lock-venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/pip", "install", "--quiet", PIP_TOOLS], check=True)
    compiler = venv / "bin/pip-compile"
    make_lock(compiler, "requirements.lock", "--extra=tree", "--extra=test")
    make_lock(compiler, "requirements-bench.lock", "--extra=bench", "-c", "requirements.lock")


def make_lock(compiler: Path, name: str, *options: str) -> None:
    """Write one lock: what it holds already stays, unless pyproject.toml says otherwise."""
    output, lock = paths.BUILD / name, paths.ROOT / name
    output.write_text(lock.read_text() if lock.exists() else "")
    command = [str(compiler), *OPTIONS, *options, "-o", str(output), "pyproject.toml"]
    subprocess.run(command, cwd=paths.ROOT, check=True)
    lines = output.read_text().splitlines(keepends=True)
    unsafe = "# The following packages are considered to be unsafe"
    text = "".join(line for line in lines if not line.startswith(unsafe))
    lock.write_text(HEADER + text.removeprefix(HEADER).lstrip("\n"))


if __name__ == "__main__":
    main()
