# SPDX-License-Identifier: MIT
"""`mpfw bench`: one sitting of the benchmark; writes JSON, Markdown and plots."""

import json
import os
import resource
import subprocess
import time
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mpfw import paths
from mpfw.bench import busy as busy_machine
from mpfw.bench import devices as two_devices
from mpfw.bench import guests, plan, report, results
from mpfw.bench.client import MeasurementError
from mpfw.build import deps
from mpfw.guest.guest import qemu_version
from mpfw.guest.machine import pick_accelerator
from mpfw.usage import examples

_PAIRS = {False: (25, 0.5), True: (10, 0.15)}  # and seconds of each transfer; True: quick
DESCRIPTORS = 8192  # a thousand connections: each costs the daemon several


@click.command(
    epilog=examples(
        "mpfw bench --quick                      three minutes",
        "mpfw bench --output results             a whole sitting",
        "mpfw bench --quick --busy one           everything on one processor",
        "mpfw bench --quick --devices            mpfw device beside vhost-device-vsock alone",
    )
)
@click.option("--quick", is_flag=True, help="Fewer rounds and shorter ones: three minutes.")
@click.option("--devices", "alone", is_flag=True, help="Only the two vsock devices, our guest.")
@busy_machine.option
@click.option("--image", type=click.Path(path_type=Path, exists=True), default=paths.IMAGE)
@click.option("--accel", default="auto", show_default=True, help="auto, tcg or kvm.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=paths.BUILD / "bench" / "results",
    help="Directory for results.json, README.md and the plots.",
)
def bench(quick: bool, alone: bool, busy: str, image: Path, accel: str, output: Path) -> None:
    """Measure the firmware against a Linux guest and a bare-metal floor, both in C."""
    accel = pick_accelerator() if accel == "auto" else accel
    os.environ.setdefault("RUST_LOG", "error")  # the daemon warns of each connection's end
    allow_descriptors()
    try:
        parts = guests.build(accel, image, peer=not alone)
        with busy_machine.machine(busy):
            compared = two_devices.compare(parts, *_PAIRS[quick], tell=_say)
            if alone:
                click.echo(two_devices.markdown(compared))
                return
            sitting = sit(parts, plan.QUICK if quick else plan.FULL)
    except (deps.DependencyError, MeasurementError) as error:
        raise click.ClickException(
            "\n".join([str(error), *getattr(error, "__notes__", [])])
        ) from error
    extra = sitting.extra | {"payload_bytes": parts.payload_bytes}
    judge = results.Judge(sitting.measured, sitting.nothing_ms, extra)
    command = "make bench" + (" QUICK=1" if quick else "")
    if busy != busy_machine.QUIET:
        command += f" BUSY={busy} ({busy_machine.ABOUT[busy]})"
    about = _about(accel, parts.kernel, command)
    _write(output, sitting, judge, about, compared)
    for target in judge.targets:
        mark = "  " if target.met else "! "
        click.echo(f"{mark}{target.what}: {report.number(target.found)} (wanted {target.wanted})")
    click.echo(f"{output}/README.md, results.json and plots are written")


def _say(text: str) -> None:
    click.echo(text, err=True)


def sit(parts: guests.Parts, effort: plan.Effort) -> plan.Sitting:
    """Measure, with a progress bar. Raises MeasurementError."""
    columns = (TextColumn("{task.description:45}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn()) as progress:
        task = progress.add_task("", total=None)
        done = -1

        def tell(text: str) -> None:
            nonlocal done
            done += 1
            progress.update(task, description=text, completed=done, total=sitting.steps)

        sitting = plan.Sitting(parts, effort, tell)
        sitting.run()
        progress.update(task, description="done", completed=sitting.steps)
    return sitting


def allow_descriptors() -> None:
    """Raise the limit of open files to what a thousand connections need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        raise click.ClickException(f"{DESCRIPTORS} open files are needed, {hard} allowed")
    if soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))


def _about(accel: str, kernel: str, command: str) -> dict[str, str]:
    """The conditions of a sitting, for its readers."""
    models = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
        "machine": f"{len(models)} × {models[0] if models else 'unknown'}",
        "QEMU": f"{'.'.join(map(str, qemu_version()))}, {accel}",
        "vhost-device-vsock": deps.dependency("vhost-device-vsock").version,
        "Linux guest": f"Debian's cloud kernel {kernel}, 256 MiB as all guests",
    }


def _write(
    output: Path,
    sitting: plan.Sitting,
    judge: results.Judge,
    about: dict[str, str],
    compared: two_devices.Compared,
) -> None:
    from mpfw.bench import plots  # matplotlib takes a second to import

    output.mkdir(parents=True, exist_ok=True)
    labels = {name: sitting.parts.kinds[name].label for name in report.ORDER}
    distributions = {
        name: results.distribution(samples) for name, samples in sitting.samples.items()
    }
    document = {
        "about": about,
        **judge.as_json(),
        "round_trips_us": distributions,
        "boot_log": sitting.boot_log.splitlines(),
        "retries": sitting.retries,
        "devices": compared.as_json(),
    }
    (output / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    page = report.markdown(judge, labels, about, sitting.retries)
    page += f"\n## Two devices, our guest\n\n{two_devices.markdown(compared)}\n"
    (output / "README.md").write_text(page)
    plots.draw(output, labels, judge, distributions, sitting.boot_log)
