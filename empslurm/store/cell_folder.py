"""One cell's folder: its identity, claims, progress and outcome, from which its state is computed.

cell.json               identity, written once
claims/                 who runs it, see `claims`
parameters.json         what a trial of a search drew, written before it trains
checkpoint/             sealed files, the last good one kept until the next is verified
metrics.jsonl           one line per evaluation, for people to watch
progress.json           how far training is, replaced every few seconds
output-0001/            adapter/, predictions.parquet, provenance.json of claim 1
result.json             written last, by exclusive link; names its output and every checksum
left-out.json           in a bundle: the adapters that it does not have
error.json              the last failure: class, sentence, traceback tail
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from empslurm import files, ids
from empslurm.cells import Cell
from empslurm.errors import ClaimLostError, DamagedError, StoreError
from empslurm.store import results
from empslurm.store.claims import Claim, ClaimFolder, Liveness, local_liveness, of_this_process
from empslurm.store.folders import names
from empslurm.store.results import ADAPTER, LAST, OUTPUT
from empslurm.validation import decode

State = Literal["done", "failed", "running", "queued", "lost", "pending"]  # queued: known only from Slurm
LAST_ADAPTER = f"{LAST}/{ADAPTER}"  # a baseline's adapter after the last epoch
PROVENANCE = "provenance.json"
RESULT = "result.json"
HEARTBEAT_STALE_S = 900.0  # a claim whose process cannot be checked is lost after this time without a heartbeat


@dataclass(frozen=True, kw_only=True)
class CellState:
    """A cell's computed state and the sentence that explains it."""

    state: State
    why: str = ""
    claim: Claim | None = None
    flags: tuple[str, ...] = ()  # of a done cell: those of its result, see `metrics.FLAGS`
    bare: bool = False  # whether a done cell is from a bundle without adapters, so that no cell can start from it


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the training of a cell is."""

    time: float  # Unix time of this note
    step: int | None = None
    n_steps: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    tokens_per_s: float | None = None
    steps_per_s: float | None = None
    pack: int | None = None  # how many cells train together

    @property
    def known(self) -> dict[str, float]:
        """The numbers that the note has, by name."""
        return {name: value for name, value in ids.plain(self).items() if value is not None}


class CellDir:
    """One cell's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self._claims = ClaimFolder(self.claims_folder)

    # ---- paths --------------------------------------------------------------------------------------------------

    @property
    def identity_file(self) -> Path:
        return self.path / "cell.json"

    @property
    def parameters_file(self) -> Path:
        return self.path / "parameters.json"

    @property
    def claims_folder(self) -> Path:
        return self.path / "claims"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoint"

    @property
    def history_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def progress_file(self) -> Path:
        return self.path / "progress.json"

    @property
    def result_file(self) -> Path:
        return self.path / RESULT

    @property
    def error_file(self) -> Path:
        return self.path / "error.json"

    def output(self, claim: Claim) -> Path:
        """The folder that the claim's process writes its adapter and predictions to."""
        return self.path / f"output-{claim.number:04d}"

    # ---- identity -----------------------------------------------------------------------------------------------

    def create(self, cell: Cell) -> None:
        """Write the identity once; an existing one must be equal. Raises DamagedError when it is not."""
        if not files.create_exclusive(self.identity_file, files.to_json(cell.identity())):
            self.identity()

    def identity(self) -> dict[str, Any]:
        """The stored identity, checked against the folder's name. Raises FileNotFoundError, DamagedError."""
        value = files.read_object(self.identity_file)
        if not self.id.endswith("-" + ids.digest(value, 12)):
            raise DamagedError(f"{self.identity_file} must hold the identity of {self.id}, but does not; move it away")
        return value

    # ---- claims -------------------------------------------------------------------------------------------------

    def claims(self) -> list[Claim]:
        """All claims, oldest first."""
        return self._claims.all()

    def claim(self) -> Claim | None:
        """The claim that holds the cell, if there ever was one."""
        return self._claims.newest()

    def take(
        self,
        alive: Liveness,
        *,
        job_id: str | None = None,
        restart_count: int = 0,
        log: str | None = None,
        job_name: str | None = None,
        cluster: str | None = None,
    ) -> Claim | None:
        """Claim the cell for this process, or return None when it is done or a living process holds it.

        The next number is created exclusively: of several processes that find the same dead claim, one wins.
        """
        if self.tidy():
            return None
        last = self.claim()
        if last is not None and not self._claims.is_released(last):
            of_this_job = job_id is not None and (last.job_id, last.job_name) == (job_id, job_name)
            # Slurm restarted this same job, so its earlier start is over.
            over = of_this_job and last.restart_count < restart_count
            newer_self = of_this_job and last.restart_count > restart_count
            if newer_self or (not over and self.holder_lives(last, alive)):
                return None
        number = (last.number if last else 0) + 1
        claim = of_this_process(
            number, job_id=job_id, restart_count=restart_count, log=log, job_name=job_name, cluster=cluster
        )
        if not self._claims.add(claim):
            return None
        if self.tidy():  # the previous holder saved its result while this process looked at its claim
            self.release(claim)
            return None
        files.sweep(self.checkpoints)
        return claim

    def release(self, claim: Claim) -> None:
        """Note that the claim's process has finished with the cell, whether it is done or not."""
        self._claims.release(claim)

    def beat(self, claim: Claim) -> None:
        """Note that the claim's process lives, for those that cannot check it."""
        self._claims.beat(claim)

    def holder_lives(self, claim: Claim, alive: Liveness) -> bool:
        """Whether the claim's process lives; if it cannot be checked, the age of its heartbeat decides."""
        known = self._known(claim, alive)
        return self._silence_s(claim) < HEARTBEAT_STALE_S if known is None else known

    @staticmethod
    def _known(claim: Claim, alive: Liveness) -> bool | None:
        known = alive(claim)
        return local_liveness(claim) if known is None else known

    def _silence_s(self, claim: Claim) -> float:
        """Seconds since the claim's last heartbeat or progress."""
        now = time.time()
        progress = self.progress()
        beats = (claim.started, self._claims.last_beat(claim), progress.time if progress else 0.0)
        # A heartbeat from the future comes from a wrong clock or a damaged file, so it is ignored.
        return min((max(0.0, now - beat) for beat in beats if beat < now + HEARTBEAT_STALE_S), default=math.inf)

    def check(self, claim: Claim) -> None:
        """Raise ClaimLostError unless `claim` still holds the cell. Called before every write."""
        held = self.claim()
        if held is None or held.nonce != claim.nonce:
            who = held.who if held else "nobody"
            raise ClaimLostError(f"{self.id} is now held by {who}, so {claim.who} stops working on it")

    # ---- progress -----------------------------------------------------------------------------------------------

    def write_progress(self, progress: Progress) -> None:
        """Replace the progress note."""
        files.write_json(self.progress_file, ids.plain(progress))

    def progress(self) -> Progress | None:
        """The progress note; None where there is none that can be read."""
        try:
            progress: Progress = decode.load(self.progress_file, Progress)
        except (FileNotFoundError, StoreError):
            return None
        return progress

    # ---- outcome ------------------------------------------------------------------------------------------------

    def save(self, claim: Claim, result: Mapping[str, Any]) -> bool:
        """Seal the claim's output and link the result exclusively. False: another process saved a result first.

        Every file of the output enters the result with its sha256.
        """
        self.check(claim)
        folder = self.output(claim)
        sealed = results.seal({**result, "id": self.id, "claim": claim.number}, folder)
        won = files.create_exclusive(self.result_file, files.to_json(sealed))
        self.tidy()
        return won

    def tidy(self) -> bool:
        """Whether the cell is done; if so, remove what is no longer needed: checkpoints, errors, other outputs.

        If a process is killed before this, the next one does it. Raises DamagedError.
        """
        result = self.result()
        if result is None:
            return False
        for path in self._spare(result):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()
        return True

    def spare(self) -> list[Path]:
        """What `tidy` would remove; nothing of an unfinished cell. Raises DamagedError."""
        result = self.result()
        return [] if result is None else self._spare(result)

    def _spare(self, result: Mapping[str, Any]) -> list[Path]:
        """What a finished cell no longer needs: checkpoints, other outputs, errors, files of killed processes."""
        own = (self.checkpoints.name, *names(self.path, OUTPUT), self.error_file.name)
        others = [self.path / name for name in own if name != result["output"]]
        return [path for path in (*others, *sorted(self.path.glob(files.TEMPORARY))) if os.path.lexists(path)]

    def held(self, alive: Liveness) -> bool:
        """Whether a living process holds the cell."""
        claim = self.claim()
        return claim is not None and not self._claims.is_released(claim) and self.holder_lives(claim, alive)

    def result(self) -> dict[str, Any] | None:
        """The result, whose seal and id must match; None when there is none. Raises DamagedError."""
        return results.read(self.result_file, self.id)

    def verify(self, result: Mapping[str, Any]) -> Path:
        """Check every file of a result's output; return the output folder. Raises DamagedError naming the file."""
        return results.verify(self.path, result)

    def fail(self, claim: Claim, *, kind: str, message: str, traceback: str = "") -> None:
        """Record the last failure. Raises ClaimLostError if another process holds the cell by now."""
        self.check(claim)
        error = {"class": kind, "message": message, "traceback": traceback, "claim": claim.number, "time": time.time()}
        files.write_json(self.error_file, error)

    def error(self) -> dict[str, Any] | None:
        """The last failure, if any."""
        try:
            return files.read_object(self.error_file)
        except FileNotFoundError:
            return None
        except StoreError as unreadable:
            return {"class": "damaged", "message": str(unreadable)}

    def state(self, alive: Liveness) -> CellState:
        """Result: done; living claim: running; error of the last claim: failed; dead claim: lost; else pending."""
        try:
            if (result := self.result()) is not None:
                bare = (self.path / results.LEFT_OUT).exists()
                return CellState(state="done", flags=results.envelope(result).flags, bare=bare)
            claim = self.claim()
        except StoreError as error:
            return CellState(state="failed", why=str(error))
        if claim is None:
            return CellState(state="pending")
        if not self._claims.is_released(claim):
            known = self._known(claim, alive)
            silence_s = self._silence_s(claim)
            if known or (known is None and silence_s < HEARTBEAT_STALE_S):
                unseen = "" if known else f", which cannot be checked; its last sign of life is {silence_s:.0f} s old"
                return CellState(state="running", why=f"{claim.who}{unseen}", claim=claim)
        failure = self.error()
        if failure is not None and failure.get("claim") == claim.number:
            return CellState(state="failed", why=f"{failure.get('class')}: {failure.get('message')}", claim=claim)
        return CellState(state="lost", why=f"{claim.who} ended without a result", claim=claim)
