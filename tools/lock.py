#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make requirements.lock from pyproject.toml: every package of build/venv, with digests.

Runs pip-tools in a virtual environment of its own under build/. Standard library only.
"""

import subprocess
import sys

from mpfw import paths

PIP_TOOLS = "pip-tools==7.6.2"
HEADER = """\
# Every Python package of build/venv with its digests, for pip's --require-hashes.
# Made from pyproject.toml by `make lock`; not edited by hand.
"""
OPTIONS = """
    --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --extra=test
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options
""".split()


def main() -> None:
    venv = paths.BUILD / "lock-venv"
    output = paths.BUILD / "requirements.lock"
    lock = paths.ROOT / "requirements.lock"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/pip", "install", "--quiet", PIP_TOOLS], check=True)
    output.write_text(lock.read_text())  # what is locked stays, unless pyproject.toml says else
    command = [venv / "bin/pip-compile", *OPTIONS, "-o", output, "pyproject.toml"]
    subprocess.run(command, cwd=paths.ROOT, check=True)
    lines = output.read_text().splitlines(keepends=True)
    unsafe = "# The following packages are considered to be unsafe"
    text = "".join(line for line in lines if not line.startswith(unsafe))
    lock.write_text(HEADER + text.removeprefix(HEADER).lstrip("\n"))


if __name__ == "__main__":
    main()
