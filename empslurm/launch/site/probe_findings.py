"""Judge the reports of a probe's node: each finding with its fix. Facts in, checks out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from empslurm.launch.profile import Profile
from empslurm.launch.site.checks import BF16_UNITS, MIN_FREE_BYTES, Check
from empslurm.launch.site.probe import Outcome

CLOCK_LIMIT_S = 60.0  # claims of different machines are compared by their clocks
SETUP_TROUBLE = re.compile(r"not found|no such file|error|unable|cannot|can't|failed|denied|unknown", re.IGNORECASE)
NOT_SHARED = "put the runs root on a file system that all nodes share and that has hard links: --runs or EMPSLURM_RUNS"


class Findings:
    """The checks of one outcome. `here`: versions of this machine's packages; `gpu_line`: a GPU in words."""

    def __init__(
        self,
        outcome: Outcome,
        profile: Profile,
        root: Path,
        here: Mapping[str, str | None],
        gpu_line: Callable[[Mapping[str, Any], Mapping[str, Any]], str],
    ) -> None:
        self.outcome, self.profile, self.root, self.here, self.gpu_line = outcome, profile, root, here, gpu_line
        self.file = f"{profile.name}.yaml"
        self.container = f"`python` of {self.file}" if profile.python else "the environment that the nodes use"

    def checks(self) -> list[Check]:
        """All checks, in the order of events."""
        checks = [*self._job(), *self._setup()]
        if self.outcome.node and self.outcome.started:
            checks += [*self._slurm(), *self._files(), *self._clock(), *self._element(), *self._training()]
        return checks

    # ---- the job ---------------------------------------------------------------------------------------------------

    def _job(self) -> Iterator[Check]:
        outcome = self.outcome
        if outcome.problem:
            yield Check(what="probe: job", ok=False, found=outcome.problem, fix=outcome.fix)
        else:
            seconds = outcome.after_sending(outcome.started["time"])
            text = f"job {outcome.job_id} ran on {outcome.node['host']}, {seconds:.1f} s after it was sent"
            yield Check(what="probe: job", ok=True, found=text)

    def _setup(self) -> Iterator[Check]:
        said = self.outcome.setup_said.splitlines()
        trouble = [line for line in said if SETUP_TROUBLE.search(line)]
        if trouble:
            fix = f"fix `setup` in {self.file}: one of its lines failed, and the job went on without it"
            yield Check(what="probe: setup", ok=False, found=trouble[-1][:300], fix=fix)
        elif said:
            yield Check(what="probe: setup", ok=None, found=f"before Python started, it printed: {said[-1][:300]}")

    def _slurm(self) -> Iterator[Check]:
        wrong = {name: said for name, said in self.outcome.node["slurm"].items() if said}
        text = "; ".join(f"{name} {said}" for name, said in wrong.items()) or "squeue, scontrol and srun answer there"
        fix = "put Slurm's commands on the nodes' PATH (by a line of `setup`): jobs need them to requeue themselves"
        yield Check(what="probe: Slurm on the node", ok=not wrong, found=text, fix=fix if wrong else "")

    # ---- the runs root and the clock ---------------------------------------------------------------------------------

    def _files(self) -> Iterator[Check]:
        wrong = [said for said in self.outcome.node["files"].values() if said]
        sound = f"{self.root} can be written there; replacing files and creating them once work"
        text = "; ".join(wrong) or sound
        yield Check(what="probe: runs root", ok=not wrong, found=text, fix=NOT_SHARED if wrong else "")
        free = self.outcome.node["free_bytes"]
        if free is not None:
            good = free >= MIN_FREE_BYTES
            fix = "" if good else "free space there, or choose another runs root with --runs"
            yield Check(what="probe: disk", ok=good, found=f"{free / 2**30:.1f} GiB free there", fix=fix)

    def _clock(self) -> Iterator[Check]:
        clock = self.outcome.clock
        if clock is None:
            text = "the node did not answer in time, so its clock was not compared"
            yield Check(what="probe: clock", ok=None, found=text)
            return
        apart = abs(clock.ahead_s)
        way = "ahead of" if clock.ahead_s > 0 else "behind"
        text = f"the node's clock is {apart:.1f} s {way} this machine's (within {clock.within_s:.1f} s)"
        fix = f"synchronise the clocks of {self.outcome.node['host']} and this machine (chronyc, ntpd)"
        good = apart - clock.within_s <= CLOCK_LIMIT_S
        sure = None if good and apart + clock.within_s > CLOCK_LIMIT_S else good
        yield Check(what="probe: clock", ok=sure, found=text, fix="" if good else fix)

    # ---- the two Pythons ---------------------------------------------------------------------------------------------

    def _element(self) -> Iterator[Check]:
        node = self.outcome.node
        yield self._versions("probe: Python of the job", node, {})

    def _training(self) -> Iterator[Check]:
        training, ended = self.outcome.training, self.outcome.node["training"]
        what = "probe: Python of training"
        if not training:
            text = f"it ended with status {ended['status']} and no report; its last line: {ended['line'] or 'none'}"
            if ended["status"] is None:
                text = f"it could not be started: {ended['line']}"
            fix = f"install empslurm's packages in {self.container}"
            if self.profile.python:
                fix = f"set `python` in {self.file} to a command that starts Python with empslurm's packages"
            yield Check(what=what, ok=False, found=text, fix=fix)
            return
        yield self._versions(what, training, training["imports"])
        if "first_step" not in training:
            return
        yield from self._gpu() if self.profile.gpus else self._processor()
        if not (self.profile.gpus and training["gpu"]["problem"]):  # else the step ran on the CPU
            yield self._step()
        if self.profile.trackers:
            yield self._trackers()

    def _versions(self, what: str, facts: Mapping[str, Any], imports: Mapping[str, str]) -> Check:
        """Whether a Python has this machine's packages, and can import them."""
        wrong = [f"{name} cannot be imported ({said})" for name, said in imports.items() if said]
        for name, version in facts["packages"].items():
            wanted = self.here.get(name)
            # The job brings its own copy of empslurm; the build of torch does not count as another version.
            if name != "empslurm" and wanted and _plain(version) != _plain(wanted):
                wrong.append(f"{name} is {version or 'missing'}, here {wanted}")
        python = f"{facts['python']} ({facts['executable']})"
        if not wrong:
            return Check(what=what, ok=True, found=f"{python}, packages as here")
        fix = f"install the versions of constraints.txt in {self.container}"
        return Check(what=what, ok=False, found=f"{python}: {'; '.join(wrong)}", fix=fix)

    def _gpu(self) -> Iterator[Check]:
        gpu = self.outcome.training["gpu"]
        what, asked, seen = "probe: GPU", self.profile.gpus, gpu["seen"]
        if gpu["problem"]:
            problem, _, _ = gpu["problem"].partition("; run `nvidia-smi`")
            fix = "run `nvidia-smi` on that node; list it under `exclude` if its driver is broken"
            if gpu["cuda"] is None:
                fix = f"install the CUDA build of torch in {self.container} (the torch there has no CUDA)"
            yield Check(what=what, ok=False, found=problem, fix=fix)
            return
        if len(seen) < asked:
            fix = f"in {self.file}: set `gpus` or `gres` to what the nodes have"
            yield Check(what=what, ok=False, found=f"asked for {asked} GPUs, but torch sees {len(seen)}", fix=fix)
        for index, properties in enumerate(seen):
            reading = gpu["readings"][index] if index < len(gpu["readings"]) else {}
            text = f"{self.gpu_line(properties, reading)}, CUDA {gpu['cuda']}"
            yield Check(what=f"{what} {index}", ok=True, found=text)

    def _processor(self) -> Iterator[Check]:
        node = self.outcome.node
        text = f"no GPU requested: {self.profile.cpus} CPU cores of {node['host']}, {BF16_UNITS[node['bf16']]}"
        yield Check(what="probe: device", ok=None, found=text)

    def _trackers(self) -> Check:
        """Whether the trackers that the profile names are installed."""
        what = "probe: trackers"
        missing = [name for name in self.profile.trackers if name not in self.outcome.training["trackers"]]
        if not missing:
            return Check(what=what, ok=True, found=f"{', '.join(self.profile.trackers)} installed")
        packages = " ".join(name.replace("_", "-") for name in missing)
        fix = f"run `pip install {packages}` in {self.container}, or remove it from `trackers` in {self.file}"
        return Check(what=what, ok=False, found=f"{', '.join(missing)} not installed: cells train without it", fix=fix)

    def _step(self) -> Check:
        """One step of an invented model, and the time until then."""
        outcome, training = self.outcome, self.outcome.training
        what = "probe: first step"
        if training["step_problem"]:
            fix = f"on a node, start the `python` of {self.file} (or this Python) and test torch there"
            return Check(what=what, ok=False, found=f"a training step fails: {training['step_problem']}", fix=fix)
        times = timings(outcome)
        text = f"{times['first_step_s']:.1f} s after sending, {times['run_s']:.1f} s after the job's start"
        return Check(what=what, ok=True, found=f"{text} ({times['import_s']:.1f} s of it imports)")


def timings(outcome: Outcome) -> dict[str, float | None]:
    """Seconds from sending the job to its start on the node and to its first training step; None: never reached."""
    started, training = outcome.started.get("time"), outcome.training
    first = training.get("first_step")
    return {
        "started_s": None if started is None else round(outcome.after_sending(started), 2),
        "first_step_s": None if first is None else round(outcome.after_sending(first), 2),
        "run_s": None if first is None or started is None else round(first - started, 2),
        "import_s": round(training["imported"] - training["begun"], 2) if training else None,
        "waited_s": round(outcome.waited_s, 2),
    }


def _plain(version: str | None) -> str | None:
    """A version without its build, such as 2.9.0 of 2.9.0+cu128."""
    return version.partition("+")[0] if version else version
