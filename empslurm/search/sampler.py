"""A search's sampler: an Optuna study in a journal file that many processes share, derived from the trials' cells.

runs/searches/<search>/journal.log   append only, one short lock per write; no database server, for shared file systems
runs/cells/<trial>/parameters.json  what the trial drew: created exclusively, before it trains

Optuna's trial number k is the cell with number k, and only the cell's claim says which process runs it. So the trial of
a dead process is resumed like any cell, and none is counted twice. What a dead process did not report, the next one
reports; a lost journal is rebuilt from the trials' folders.
"""

from __future__ import annotations

import time
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from empslurm import files, ids
from empslurm.cells import DrawnTrial, TrialCell
from empslurm.config import Search
from empslurm.errors import DamagedError, StoreError
from empslurm.ids import stream
from empslurm.metrics import METRICS
from empslurm.search.results import Drawn, Finished, Parameters, finished_trial, with_parameters
from empslurm.store.runs import RunsRoot
from empslurm.validation import decode

N_STARTUP_TRIALS = 10  # drawn at random before the sampler uses results; Optuna's default
N_UNPRUNED_TRIALS = 5  # must have finished before any trial is pruned; Optuna's default
N_UNPRUNED_EPOCHS = 1  # of each trial: its first score says little


def space(search: Search) -> dict[str, BaseDistribution]:
    """Parameter name -> distribution."""
    return {
        "adapter": CategoricalDistribution([adapter.kind for adapter in search.adapters]),
        "lr": FloatDistribution(search.lr_low, search.lr_high, log=True),
        "batch_size": IntDistribution(search.batch_size_low, search.batch_size_high),
    }


def worst(metric: str) -> float:
    """The value that the sampler gets for an undefined score: the metric's lowest."""
    return float(METRICS[metric].low)


class Sampler:
    """One process's access to a search's Optuna study. `like`: any trial of the search."""

    def __init__(self, root: RunsRoot, like: TrialCell) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.root, self.like, self.search = root, like, like.trial.search
        self.name = like.search_name
        self.space = space(self.search)
        journal = root.searches / self.name / "journal.log"
        journal.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.storage = JournalStorage(JournalFileBackend(str(journal), JournalFileOpenLock(str(journal))))
            try:
                self.study_id = self.storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], self.name)
            except DuplicatedStudyError:
                self.study_id = self.storage.get_study_id_from_name(self.name)
        except (ValueError, KeyError) as error:
            raise DamagedError(
                f"{journal} must be a search's journal, but is damaged; move it away, and submit again: it is rebuilt "
                "from the trials' folders"
            ) from error

    # ---- reporting --------------------------------------------------------------------------------------------------

    def catch_up(self, n_trials: int) -> int:
        """Extend the journal to `n_trials` trials and add missing results; returns the number of finished trials."""
        for _ in range(len(self._trials()), n_trials):  # two processes may add one too many: no cell has its number
            self._study(0).add_trial(optuna.trial.create_trial(state=TrialState.WAITING))
        for known in self._trials():
            if not known.state.is_finished():
                self.tell_result(self.like.numbered(known.number))
        return sum(trial.state.is_finished() for trial in self._trials())

    def tell_result(self, cell: TrialCell) -> None:
        """Report a trial's sealed result to the sampler, if there is one."""
        try:
            result = self.root.cell(cell.id).result()
            finished = None if result is None else finished_trial(cell, result)
        except StoreError:
            return  # the search continues without it; its report names the file
        if result is not None and finished is not None:
            self.tell(finished, result["metric"])

    def tell(self, finished: Finished, metric: str) -> None:
        """Report a finished trial to the sampler; a second report changes nothing."""
        trial_id = self._trial_id(finished.cell.trial.number)
        values = {
            "adapter": finished.adapter.kind,
            "lr": finished.training.lr,
            "batch_size": finished.training.batch_size,
        }
        known = self.storage.get_trial(trial_id)
        lowest = worst(metric)
        try:
            for name, value in values.items():
                if name not in known.params:
                    distribution = self.space[name]
                    self.storage.set_trial_param(trial_id, name, distribution.to_internal_repr(value), distribution)
            for epoch, score in enumerate(finished.epochs):
                if epoch not in known.intermediate_values:
                    self.storage.set_trial_intermediate_value(trial_id, epoch, lowest if score is None else score)
            state = TrialState.COMPLETE if finished.outcome == "complete" else TrialState.PRUNED
            value = lowest if finished.validation is None else finished.validation
            self.storage.set_trial_state_values(trial_id, state, [value])
        except UpdateFinishedTrialError:
            return

    # ---- drawing ----------------------------------------------------------------------------------------------------

    def draw(self, cell: TrialCell) -> DrawnTrial:
        """The trial with its adapter and training, which are drawn once: a process that takes it over has the same."""
        path = self._parameters_file(cell)
        if not path.exists():
            files.create_exclusive(path, files.to_json(ids.plain(self._ask(cell))))
        try:
            return with_parameters(cell, self.drawn(cell).parameters)
        except KeyError as error:
            raise DamagedError(
                f"{path} must hold an adapter of the search, but holds {error}; move the cell's folder away and submit "
                "again"
            ) from error

    def drawn(self, cell: TrialCell) -> Drawn:
        """The parameters that the trial has drawn. Raises DamagedError."""
        drawn: Drawn = decode.load(self._parameters_file(cell), Drawn, "move the cell's folder away and submit again")
        return drawn

    def _parameters_file(self, cell: TrialCell) -> Path:
        return self.root.cell(cell.id).parameters_file

    def _ask(self, cell: TrialCell) -> Drawn:
        number = cell.trial.number
        n_known = self.catch_up(number + 1)
        trial_id = self._trial_id(number)
        self.storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        trial = optuna.trial.Trial(self._study(number), trial_id)
        parameters = Parameters(
            adapter=trial.suggest_categorical("adapter", [adapter.kind for adapter in self.search.adapters]),
            lr=trial.suggest_float("lr", self.search.lr_low, self.search.lr_high, log=True),
            batch_size=trial.suggest_int("batch_size", self.search.batch_size_low, self.search.batch_size_high),
        )
        return Drawn(parameters=parameters, started=time.time(), n_known=n_known)

    # ---- pruning ----------------------------------------------------------------------------------------------------

    def prune(self, cell: TrialCell, epochs: list[float | None], metric: str) -> bool:
        """Report a trial's scores so far, one per epoch; returns whether to stop it."""
        trial_id = self._trial_id(cell.trial.number)
        known = self.storage.get_trial(trial_id).intermediate_values
        for epoch, score in enumerate(epochs):
            if epoch not in known:
                value = worst(metric) if score is None else score
                self.storage.set_trial_intermediate_value(trial_id, epoch, value)
        study = self._study(cell.trial.number)
        return bool(study.pruner.prune(study, self.storage.get_trial(trial_id)))

    # ---- Optuna's own -----------------------------------------------------------------------------------------------

    def _study(self, number: int) -> optuna.Study:
        """Optuna's study, with a sampler whose draws depend only on the study, the number and the known results."""
        seed = stream("search", self.name, number) % 2**32
        sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=seed)
        if self.search.sampler == "tpe":
            sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=N_STARTUP_TRIALS)
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if self.search.pruner == "median":
            pruner = optuna.pruners.MedianPruner(n_startup_trials=N_UNPRUNED_TRIALS, n_warmup_steps=N_UNPRUNED_EPOCHS)
        return optuna.load_study(study_name=self.name, storage=self.storage, sampler=sampler, pruner=pruner)

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        trials: list[optuna.trial.FrozenTrial] = self.storage.get_all_trials(self.study_id, deepcopy=False)
        return trials

    def _trial_id(self, number: int) -> int:
        return int(self.storage.get_trial_id_from_study_id_trial_number(self.study_id, number))
