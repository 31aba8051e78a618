"""The fixture `cluster`: the throw-away Slurm cluster of slurm/testcluster; skips the test if it does not answer."""

import fcntl
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.project import Project, create

SCRIPT = Path(__file__).parents[2] / "slurm" / "testcluster" / "cluster.sh"
MARKER = ".empslurm-testcluster"
# Ordinary users of the cluster; root is Slurm's own user and sees everything.
USER, OTHER_USER = "nobody", "games"
ABSENT = "no Slurm cluster answers: run `make cluster-up`"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Questions to the cluster and actions on it; `state` is its state folder."""

    state: Path

    def run(self, *command: str | Path) -> str:
        """Standard output of a command that must succeed."""
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
        assert done.returncode == 0, f"{shlex.join(map(str, command))}: {done.stderr}"
        return done.stdout.strip()

    def _patiently(self, *command: str) -> str:
        """As `run`, but patient: on a busy machine the controller may miss a question."""
        for _ in range(3):
            try:
                return self.run(*command)
            except AssertionError:
                time.sleep(2)
        return self.run(*command)

    def refused(self, *command: str | Path) -> str:
        """Standard error of a command that must fail."""
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
        assert done.returncode != 0, f"{shlex.join(map(str, command))} succeeded: {done.stdout}"
        return done.stderr.strip()

    def _control(self, *arguments: str, **settings: str) -> None:
        # The port too: the cluster that answers may not be the one of this process's environment.
        port = re.findall(r"^SlurmctldPort=(\d+)$", (self.state / "etc" / "slurm.conf").read_text(), re.MULTILINE)[0]
        names = {"STATE": str(self.state), "PORT": port, **settings}
        variables = (f"EMPSLURM_CLUSTER_{name}={value}" for name, value in names.items())
        self.run("env", *variables, SCRIPT, *arguments)

    @staticmethod
    def wait(what: str, holds: Callable[[], bool], limit_s: float = 30.0) -> None:
        """Returns as soon as `holds()`; fails with `what` after `limit_s`."""
        end = time.monotonic() + limit_s
        while not holds():
            assert time.monotonic() < end, f"not within {limit_s:g} s: {what}"
            time.sleep(0.05)

    def wait_empty(self, limit_s: float = 1800.0) -> None:
        """Wait until nothing is queued or running."""
        self.wait("the queue is empty", lambda: not self.jobs(), limit_s)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Waits until no other test run uses this cluster: each clears its queue and kills its nodes."""
        with open(self.state / "tested", "a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def as_user(self, name: str) -> tuple[str, ...]:
        """Words before a command that let `USER` or `OTHER_USER` run it; they may read root's home, but not write."""
        return ("env", f"EMPSLURM_CLUSTER_STATE={self.state}", str(SCRIPT), "as", name)

    # Questions.

    def has_accounting(self) -> bool:
        """Whether slurmdbd runs, so that sacct answers."""
        return self.setting("AccountingStorageType") == "accounting_storage/slurmdbd"

    def setting(self, name: str) -> str:
        """A value of `scontrol show config`."""
        lines = self.run("scontrol", "show", "config").splitlines()
        return next(line.partition("=")[2].strip() for line in lines if line.split()[:1] == [name])

    def nodes(self) -> dict[str, str]:
        """Node name -> state, as sinfo writes it."""
        return dict(line.split() for line in self.run("sinfo", "-h", "-N", "-p", "batch", "-o", "%N %T").splitlines())

    def jobs(self, job: str = "") -> dict[str, str]:
        """Job or array element (`7`, `8_0`) -> state, of all that is queued; or those of the job or array `job`."""
        lines = (line.split() for line in self._patiently("squeue", "-h", "-r", "-o", "%i %F %T").splitlines())
        return {name: state for name, array, state in lines if job in ("", array, name)}

    def node_of(self, job: str) -> str:
        """The node where `job` runs."""
        return self.run("squeue", "-h", "-j", job, "-o", "%N")

    # Jobs.

    def submit(self, script: str, *options: str) -> str:
        """Submit a batch job with the bash script `script`; return its id."""
        return self.run("sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap={script}")

    def wait_running(self, job: str, limit_s: float = 30.0) -> None:
        self.wait(f"job {job} runs", lambda: "RUNNING" in self.jobs(job).values(), limit_s)

    def wait_ended(self, job: str, limit_s: float = 60.0) -> None:
        """Wait until the queue no longer knows `job`: a requeued job ends only with its last run."""
        self.wait(f"job {job} ends", lambda: not self.jobs(job), limit_s)

    def requeue(self, job: str) -> None:
        """End and queue a job again by hand; it starts 6 s later."""
        self.run("scontrol", "requeue", job)

    def signal(self, job: str, name: str = "USR2") -> None:
        """Signal every step of the job, as Slurm does before the time limit; the batch shell gets no signal."""
        self.run("scancel", f"--signal={name}", job)

    def preempt(self, node: str) -> str:
        """Take all of `node` with a job of 1 s in `urgent`; return its id once it has started."""
        urgent = self.submit("sleep 1", "--partition=urgent", f"--nodelist={node}", "--exclusive")
        self.wait(f"urgent job {urgent} starts", lambda: self.jobs(urgent).get(urgent) != "PENDING", 30)
        return urgent

    def clear(self) -> None:
        """Empty the queue and start every node."""
        for job in {name.partition("_")[0] for name in self.jobs()}:
            self.run("scancel", job)
        for node, state in self.nodes().items():
            if state.startswith(("down", "drain", "unk")):
                self.node_start(node)
        self.wait("the queue is empty", lambda: not self.jobs())

    # Machines and daemons.

    def node_kill(self, node: str, *, told: bool = True) -> None:
        """Kill a node as in a power failure. `told`: slurmctld is informed at once, else it notices in 40 s."""
        self._control("node-kill", node)
        # A late answer of the node may bring it back into service: then slurmctld is informed again.
        end = time.monotonic() + 1.5
        while told and time.monotonic() < end:
            if not self.nodes()[node].startswith("down"):
                self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=killed")
            time.sleep(0.2)

    def node_start(self, node: str) -> None:
        self._control("node-start", node)

    def slurmd_kill(self, node: str) -> None:
        """Kill only the daemon; jobs on the node keep running."""
        self._control("slurmd-kill", node)

    def slurmd_start(self, node: str) -> None:
        self._control("slurmd-start", node)

    def controller_stop(self) -> None:
        self._control("ctld-stop")

    def controller_start(self) -> None:
        self._control("ctld-start")

    def controller_loses_its_state(self) -> None:
        """Make the controller forget every job; all jobs end, and ids start again at 1 (or FirstJobId)."""
        self._control("ctld-lose")

    @contextmanager
    def configured(
        self, *, accounting: bool = True, max_array: int = 1001, max_submit: int = -1, extra: str = ""
    ) -> Iterator[None]:
        """The cluster with other settings; all queued jobs are lost on entry and at the end.

        `extra`: lines of slurm.conf; each replaces the line of the same setting or partition.
        """
        n_nodes = str(len(self.nodes()))
        before = {"ACCOUNTING": str(int(self.has_accounting())), "MAX_ARRAY": self.setting("MaxArraySize")}
        wanted = {"ACCOUNTING": str(int(accounting)), "MAX_ARRAY": str(max_array), "MAX_SUBMIT": str(max_submit)}
        with tempfile.TemporaryDirectory() as folder:
            old, new = Path(folder, "old"), Path(folder, "new")
            shutil.copy(self.state / "etc" / "extra", old)
            new.write_text(extra)
            self._control("up", n_nodes, EXTRA=str(new), **wanted)
            try:
                yield
            finally:
                self._control("up", n_nodes, EXTRA=str(old), **before)


def _environment(conf: Path) -> dict[str, str]:
    """Environment variables to reach the cluster, with the Slurm of another release if it uses one."""
    return {"SLURM_CONF": str(conf), "PATH": f"{conf.parent.parent}/programs/bin:{os.environ['PATH']}"}


def _answers(conf: Path) -> bool:
    # Only the throw-away cluster: tests must not kill nodes of a real one.
    if not conf.is_file() or not (conf.parent.parent / MARKER).exists():
        return False
    variables = (f"{name}={value}" for name, value in _environment(conf).items())
    ping = ["env", *variables, "scontrol", "ping"]
    return "is UP" in subprocess.run(ping, capture_output=True, text=True, check=False, timeout=60).stdout


def find_cluster() -> Cluster | None:
    """The cluster of SLURM_CONF, or the one that cluster.sh would start, if it answers."""
    exports = subprocess.run([SCRIPT, "env"], capture_output=True, text=True, check=True).stdout
    default = shlex.split(exports)[1].removeprefix("SLURM_CONF=")
    candidates = (Path(os.environ.get("SLURM_CONF", default)), Path(default))
    conf = next((conf for conf in candidates if _answers(conf)), None)
    return None if conf is None else Cluster(state=conf.parent.parent)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    found = find_cluster()
    if found is None:
        pytest.skip(ABSENT)
    with pytest.MonkeyPatch.context() as patch, found.alone():
        for name, value in _environment(found.state / "etc" / "slurm.conf").items():
            patch.setenv(name, value)
        found.clear()
        yield found
        found.clear()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return create(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def project(corpus: Project, tmp_path: Path, cluster: Cluster) -> Iterator[Project]:
    """A user's folder with invented data and nothing run yet."""
    shutil.copytree(corpus.path, tmp_path / "project")
    made = Project(path=tmp_path / "project")
    yield made
    made.end()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line for all tests that were skipped because no cluster answers."""
    skipped = [report for report in terminalreporter.stats.get("skipped", ()) if ABSENT in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests of tests/cluster are skipped: {ABSENT}")
