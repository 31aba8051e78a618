"""`doctor`: python, packages, device, Slurm, data, backbone, disk, privacy; each problem with its fix.

With --profile it checks the profile against the cluster, and with --probe it sends a small job.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from empslurm import hardware, provenance
from empslurm.cli import common, doctor_needs
from empslurm.cli.completion import completed, manifest_names
from empslurm.cli.output import Output, printable
from empslurm.config import ADAPTER_KINDS, BANKED, INSTALL_LIBRARY, LIBRARY
from empslurm.errors import EmpslurmError, UsageError
from empslurm.launch import queue
from empslurm.launch.profile import Profile
from empslurm.launch.site import openness
from empslurm.launch.site.checks import BF16_UNITS, MIN_FREE_BYTES, Check
from empslurm.store.runs import RunsRoot

if TYPE_CHECKING:
    from packaging.requirements import Requirement

WAIT_MIN = 30.0
LOG_LINES = 15
PYTHONS = ((3, 11), (3, 13))  # the first and the last release that the pinned packages were tried with


def arguments(parser: argparse.ArgumentParser, verb: str, common_options: argparse.ArgumentParser) -> None:
    text = "check only the data and backbone of this manifest, or the table of this card (default: machine and data)"
    completed(parser.add_argument("subject", metavar="MANIFEST|CARD", nargs="?", help=text), manifest_names)
    common.profile_argument(parser, "check this profile against the cluster too: a YAML file, or a name in slurm/")
    parser.add_argument(
        "--probe", action="store_true", help="send one small job with the profile too, and report what its node says"
    )
    text = f"end the probe after this time, queueing included (default {WAIT_MIN:g})"
    parser.add_argument("--wait", type=float, metavar="MINUTES", default=WAIT_MIN, help=text)


def _python() -> Iterator[Check]:
    version = sys.version.split()[0]
    first, last = PYTHONS
    good = first <= sys.version_info[:2] <= last
    yield Check(
        what="python", ok=good, found=version, fix="" if good else "use Python {}.{} to {}.{}".format(*first, *last)
    )


def _requirements(extra: str) -> list[Requirement]:
    """What setup.cfg requires, with an extra or ("") without."""
    from packaging.requirements import Requirement

    wanted = map(Requirement, importlib.metadata.requires("empslurm") or [])
    return [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": extra})]


def _packages() -> Iterator[Check]:
    """Every requirement that is missing or of a wrong version, and the library that only some adapters need."""
    try:
        always, other = _requirements(""), _requirements(LIBRARY)
    except importlib.metadata.PackageNotFoundError:
        always, other = [], []
        yield Check(
            what="packages",
            ok=False,
            found="empslurm is not installed",
            fix="run `pip install` of its wheel, or `make install` in a checkout",
        )
    for requirement in always:
        yield from _wrong(requirement)
    if always:
        yield Check(what="packages", ok=True, found=f"{len(always)} requirements checked")
    if not provenance.installed(LIBRARY):
        kinds = ", ".join(kind for kind in ADAPTER_KINDS if kind not in BANKED)
        found = f"not installed: {', '.join(BANKED)} works, the kinds {kinds} need it"
        yield Check(what=LIBRARY, ok=None, found=found, fix=f"for these kinds {INSTALL_LIBRARY}")
        return
    wrong = [check for requirement in other if requirement.name == LIBRARY for check in _wrong(requirement)]
    good = Check(what=LIBRARY, ok=True, found=f"{provenance.version(LIBRARY)}: every kind of adapter works")
    yield from wrong or [good]


def _wrong(requirement: Requirement) -> Iterator[Check]:
    """A problem if a package is missing or of a release that is not allowed."""
    version = provenance.version(requirement.name)
    if version is None or not requirement.specifier.contains(version, prereleases=True):
        plain = f"{requirement.name}{requirement.specifier}"
        yield Check(what=requirement.name, ok=False, found=version or "missing", fix=f"run `pip install '{plain}'`")


def _device() -> Iterator[Check]:
    """The GPUs or the processor that training would use."""
    import torch

    if torch.cuda.is_available():
        readings = hardware.read_gpus(hardware.visible_gpus())
        for index in range(torch.cuda.device_count()):
            reading = readings[index] if index < len(readings) else {}
            device = gpu_line(torch.cuda.get_device_properties(index), reading)
            versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
            yield Check(what=f"device: GPU {index}", ok=True, found=f"{device} ({versions})")
    else:
        fix = "for a GPU, install the CUDA build of torch for your driver" if hardware.visible_gpus() else ""
        device = f"CPU, {len(os.sched_getaffinity(0))} cores (torch {torch.__version__})"
        yield Check(what="device", ok=False if fix else None, found=device, fix=fix)
    yield Check(what="processor", ok=None, found=BF16_UNITS[hardware.cpu_bf16()])


def gpu_line(properties: Any, reading: hardware.Reading) -> str:
    """A GPU in words. `properties`: as torch gives them; `reading`: as nvidia-smi does, empty where it does not."""
    capability = (properties.major, properties.minor)
    named = " MIG " in properties.name or "mig_uuid" not in reading
    part = "" if named else f" MIG {reading.get('mig_profile') or 'instance'}"
    return ", ".join(
        (
            f"{properties.name}{part}",
            f"compute capability {properties.major}.{properties.minor}",
            f"bf16 {'native' if capability >= hardware.NATIVE_BF16 else 'emulated'}",
            f"TF32 {'yes' if capability >= hardware.TF32 else 'no'}",
            f"{properties.total_memory / 2**30:.1f} GiB",
            f"driver {reading.get('driver_version') or 'unknown'}",
        )
    )


def _slurm() -> Iterator[Check]:
    if shutil.which("sbatch") is None:
        yield Check(what="slurm", ok=None, found="no sbatch here: cells run on this machine")
        return
    jobs = queue.ask()
    if jobs is None:
        fix = "wait until `sinfo` answers, then run the same command again"
        yield Check(what="slurm", ok=False, found="squeue does not answer", fix=fix)
        return
    n_jobs = sum(not job.ended for job in jobs.values())
    accounting = "with sacct" if shutil.which("sacct") else "without sacct (not needed)"
    yield Check(what="slurm", ok=True, found=f"{n_jobs} jobs in the queue, {accounting}")


def _disk(root: RunsRoot) -> Iterator[Check]:
    folder = root.path.resolve()
    while not os.path.exists(folder):  # False, too, where it cannot be seen
        folder = folder.parent
    if not folder.is_dir():
        fix = "choose another runs root with --runs, or move that file away"
        yield Check(what="runs root", ok=False, found=f"{folder} is a file, not a folder", fix=fix)
        return
    free = shutil.disk_usage(folder).free
    good = free >= MIN_FREE_BYTES
    yield Check(
        what="disk",
        ok=good,
        found=f"{free / 2**30:.1f} GiB free at {folder}",
        fix="" if good else "delete files there, or choose another runs root with --runs",
    )
    writable = os.access(folder, os.W_OK)
    fix = "" if writable else "choose another runs root with --runs or EMPSLURM_RUNS"
    yield Check(what="runs root", ok=writable, found=f"{root.path} is {'' if writable else 'not '}writable", fix=fix)


# ---- a profile -------------------------------------------------------------------------------------------------------


def _asked_for(options: argparse.Namespace) -> Profile | None:
    """The profile, if one is named. Raises UsageError where --probe lacks a cluster."""
    if options.probe and options.profile is None:
        raise UsageError("--probe must come with a profile, but none is named; add --profile NAME")
    if not options.wait > 0:
        raise UsageError(f"--wait must be above 0 minutes, but is {options.wait:g}; leave it out for {WAIT_MIN:g}")
    profile = common.choose_profile(options.profile) if options.profile is not None else None
    if options.probe and profile is not None and profile.kind == "local":
        raise UsageError(f"--probe must have a profile of kind slurm, but {profile.name} is local; leave --probe out")
    return profile


def _probe(
    profile: Profile, root: RunsRoot, wait_s: float, before: Sequence[Check], out: Output
) -> tuple[list[Check], dict[str, Any] | None]:
    """Send the probe, unless the profile has problems; its checks, and everything it found as JSON values."""
    if any(check.ok is False for check in before):
        fix = f"solve the problems above in {profile.name}.yaml, then run the same command again"
        return [Check(what="probe: job", ok=None, found="not sent, since the profile has problems", fix=fix)], None
    from empslurm.launch.site.probe import Probe
    from empslurm.launch.site.probe_findings import Findings, timings

    try:
        with _ends_by_signal(), _display(out) as look:
            outcome = Probe(root, profile, wait_s=wait_s, look=look, say=out.warn).run()
    except EmpslurmError as error:
        return [Check.of("probe: job", error)], None
    here = provenance.collect()["packages"]
    checks = Findings(outcome, profile, root.path.resolve(), here, _gpu_of_facts).checks()
    if any(check.ok is False for check in checks) and outcome.log:
        out.say("the end of the job's log:")
        for line in outcome.log.rstrip().splitlines()[-LOG_LINES:]:
            out.say(f"  {line}")
    value = {
        "name": outcome.name,
        "job": outcome.job_id,
        "seconds": timings(outcome),
        "clock": asdict(outcome.clock) if outcome.clock else None,
        "node": dict(outcome.node) or None,
        "training": dict(outcome.training) or None,
        "log": outcome.log,
    }
    return checks, value


def _gpu_of_facts(properties: Mapping[str, Any], reading: Mapping[str, Any]) -> str:
    return gpu_line(SimpleNamespace(**properties), dict(reading))


@contextmanager
def _ends_by_signal() -> Iterator[None]:
    """TERM and HUP end this process as Ctrl-C does, so that its job is cancelled."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _display(out: Output) -> Iterator[Callable[[str], None]]:
    """Show what the probe waits for: in one changing line on a terminal, elsewhere in a line per change."""
    console = out.console(error=True)
    if not console.is_terminal:
        told: list[str] = []

        def tell(text: str) -> None:
            if told[-1:] != [text]:
                told.append(text)
                out.say(f"probe: {text}")

        yield tell
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("probe: sending it", total=None)
        yield lambda text: progress.update(bar, description=printable(f"probe: {text}", console.encoding))


# ---- the verb --------------------------------------------------------------------------------------------------------


def run(options: argparse.Namespace, out: Output) -> int:
    root, profile = RunsRoot(options.runs), _asked_for(options)
    needs = doctor_needs.needs_of(options.subject) if options.subject else doctor_needs.everything()
    checks = [*doctor_needs.checks(needs, options.data, root)]
    if not needs.subject:  # what a manifest or a card needs is a question of its own
        machine = [*_python(), *_packages(), *_device(), *_slurm()]
        checks = [*machine, *checks, *_disk(root), openness.check(root)]
    value: dict[str, Any] = {"subject": needs.subject} if needs.subject else {}
    if profile is not None:
        from empslurm.launch.site import fit

        fits = list(fit.check(profile, root))
        checks += fits
        value["profile"] = profile.name
        if options.probe:
            probed, value["probe"] = _probe(profile, root, options.wait * 60, fits, out)
            checks += probed
    bad = [check for check in checks if check.ok is False]
    out.document({"ok": not bad, "checks": [asdict(check) for check in checks], **value})
    out.line(_answer(bad, profile, options.probe, needs.subject), style="bold red" if bad else "bold green")
    marks = {True: "ok", False: "PROBLEM", None: "-"}
    out.table("", ("what", "", "found", "fix"), [(c.what, marks[c.ok], c.found, c.fix) for c in checks])
    return 1 if bad else 0


def _answer(bad: Sequence[Check], profile: Profile | None, probed: bool, subject: str) -> str:
    """The outcome in one line."""
    if bad:
        count = "1 problem" if len(bad) == 1 else f"{len(bad)} problems"
        return f"{count}: {', '.join(dict.fromkeys(check.what for check in bad))}"
    if profile is None:
        return f"ready: {subject} has what it needs here" if subject else "ready: no problem found here"
    if profile.kind == "local":
        return f"ready: `submit --profile {profile.name}` can train here"
    if probed:
        return f"ready: a job of {profile.name} did everything that was tried"
    return f"ready: Slurm takes jobs of {profile.name}; --probe tries one"
