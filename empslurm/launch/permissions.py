"""A runs root that a group shares: new files and folders below it belong to the group."""

from __future__ import annotations

import grp
import os

from empslurm.errors import StoreError, UsageError
from empslurm.launch.profile import Profile
from empslurm.store.runs import RunsRoot


def share(root: RunsRoot, profile: Profile) -> None:
    """Give the runs root's folders to the profile's group, inherited below; set its umask in this process too.

    Raises UsageError where there is no such group, StoreError where a folder cannot be changed.
    """
    if profile.umask is not None:
        os.umask(int(profile.umask, 8))
    if profile.group is None:
        return
    try:
        number = grp.getgrnam(profile.group).gr_gid
    except KeyError as error:
        raise UsageError(
            f"group must be a group of this machine, but {profile.group!r} is not; write one that `id` lists, or "
            f"remove `group` from {profile.name}.yaml"
        ) from error
    for folder in (root.path, root.cells_folder, root.submissions, root.prepared, root.code):
        folder.mkdir(parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_gid == number and status.st_mode & 0o2000:
            continue
        try:
            os.chown(folder, -1, number)
            os.chmod(folder, status.st_mode & 0o7777 | 0o2070)
        except OSError as error:
            raise StoreError(
                f"{folder} must belong to group {profile.group}, but the file system says: {error.strerror}; join the "
                f"group, or have the folder's owner run `chgrp {profile.group} {folder} && chmod g+rwxs {folder}`"
            ) from error
