# SPDX-License-Identifier: MIT
"""`mpfw image build | inspect | verify`: the command line of mpfw.image."""

import json
import os
import tempfile
from pathlib import Path

import click

from mpfw.image import ImageError, layout, origin, romfs
from mpfw.image import build as image_build
from mpfw.image import inspect as image_inspect
from mpfw.image import verify as image_verify
from mpfw.paths import BUILD, IMAGE
from mpfw.usage import examples


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{what}: {path}: {error.strerror}") from None


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces `path` by a complete file, or leaves it as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


@click.group(
    epilog=examples(
        "mpfw image inspect               what lies where",
    )
)
def image() -> None:
    """Build, inspect and verify the flash image."""


def _path() -> click.Path:
    return click.Path(path_type=Path, dir_okay=False)


@image.command(
    epilog=examples(
        "mpfw image build                               what `make image` does last",
        "mpfw image build --app directory -o my.bin     with your own main.py",
    )
)
@click.option("--reset-vector", type=_path(), default=BUILD / "firmware" / "reset_vector.bin")
@click.option("--ipl", type=_path(), default=BUILD / "firmware" / "ipl.elf")
@click.option("--payload", type=_path(), default=BUILD / "port" / "micropython.elf")
@click.option(
    "--app",
    type=click.Path(path_type=Path),
    help="Your own Python: a directory, or a ROMFS image. Without it the app volume is empty.",
)
@click.option("-o", "--output", type=_path(), default=IMAGE, help="The image to write.")
def build(reset_vector: Path, ipl: Path, payload: Path, app: Path | None, output: Path) -> None:
    """Build an image from its parts (by default those that `make` has built)."""
    try:
        parts = image_build.Parts(
            _read(reset_vector, "reset vector"),
            _read(ipl, "IPL"),
            _read(payload, "payload"),
            romfs.load(app) if app else b"",
        )
        places = layout.load()
        data = image_build.build(places, parts)
        write_atomically(output, data)
        if output == IMAGE:
            origin.record(output)
    except ImageError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    click.echo(f"{output}: {image_inspect.summary(image_inspect.inspect(places, data))}")


@image.command(
    epilog=examples(
        "mpfw image inspect               the image that was built here",
        "mpfw image inspect OLD.bin --json",
    )
)
@click.argument("path", type=_path(), default=IMAGE)
@click.option("--json", "as_json", is_flag=True, help="The same for machines.")
def inspect(path: Path, as_json: bool) -> None:
    """Show an image's volumes, files, sections, sizes and free space."""
    try:
        report = image_inspect.inspect(layout.load(), _read(path, "image"))
    except ImageError as error:
        raise click.ClickException(str(error)) from None
    click.echo(json.dumps(report, indent=2) if as_json else image_inspect.as_text(report))


@image.command(
    epilog=examples(
        "mpfw image verify                the image that was built here",
        "mpfw image verify OLD.bin",
    )
)
@click.argument("path", type=_path(), default=IMAGE)
def verify(path: Path) -> None:
    """Check every byte of an image; exits with 1 and a line per finding if it is damaged."""
    findings = image_verify.verify(layout.load(), _read(path, "image"))
    for name, finding in findings:
        click.echo(f"{path}: {name} volume: {finding}", err=True)
    if findings:
        raise SystemExit(1)
    click.echo(f"{path}: whole")
