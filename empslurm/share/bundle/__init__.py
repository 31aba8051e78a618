"""Bundles: a finished study in one folder or zip file, that others can open and check without its data.

A bundle is an RO-Crate. `layout` says what is in it, `contents` collects it from a study, `texts` makes sure that no
text of the data is among it, `writing` writes and `opening` opens it.
"""

from empslurm.share.bundle.contents import Deposit, collect
from empslurm.share.bundle.layout import is_zip
from empslurm.share.bundle.opening import is_bundle, opened
from empslurm.share.bundle.writing import write

__all__ = ["Deposit", "collect", "is_bundle", "is_zip", "opened", "write"]
