"""The exception tree; every error a user can cause or meet is one sentence, never a traceback.

EmpslurmError
├── UsageError            exit 2: a wrong option, file or name
│   ├── ManifestError     every problem of a YAML file at once, each with file, line and fix
│   └── UnknownCellError  a name that fits no cell, or several
├── DataError             exit 1: a raw file is missing, altered or has the wrong columns
│   └── SheetError        every problem of filled rating forms at once
├── StoreError            exit 1: the runs root cannot be read or written
│   ├── DamagedError      a file does not match its checksum or its identity
│   └── ClaimLostError    another process took the cell over; this one must stop
├── BackboneError         exit 1: the pretrained model is missing or does not fit
├── DeviceError           exit 1: the requested accelerator is not there
└── SchedulerError        exit 1: Slurm refused, or does not answer
"""

from __future__ import annotations

from collections.abc import Sequence


class EmpslurmError(Exception):
    """Base of all errors that are shown as a sentence. `exit_code`: 1 work failed, 2 wrong use."""

    exit_code = 1


class UsageError(EmpslurmError):
    exit_code = 2


class ManifestError(UsageError):
    """All problems of one YAML file; `problems` keeps them apart, each a whole sentence."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class UnknownCellError(UsageError):
    pass


class DataError(EmpslurmError):
    pass


class SheetError(DataError):
    """All problems of filled rating forms; `problems` keeps them apart, each a whole sentence."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class StoreError(EmpslurmError):
    pass


class DamagedError(StoreError):
    pass


class ClaimLostError(StoreError):
    pass


class BackboneError(EmpslurmError):
    pass


class DeviceError(EmpslurmError):
    pass


class SchedulerError(EmpslurmError):
    pass
