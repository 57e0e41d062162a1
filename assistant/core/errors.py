"""Errors that a user can act on.

PZ2Error            what happened, and what to do about it
├── UsageError      a command was called with wrong words
├── ConfigError     a configuration file holds something wrong
├── DataError       a dataset, corpus or user file is unusable
├── ModelError      a base, adapter or version is missing or broken
└── TrainingError   a run cannot start or go on
"""


class PZ2Error(Exception):
    """Something went wrong that the user can put right.

    ``what`` says what happened and where (file, line, field); ``fix`` says what to do.
    """

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


class UsageError(PZ2Error):
    """A command was called with wrong or missing words."""


class ConfigError(PZ2Error):
    """A configuration file holds a wrong key or value."""


class DataError(PZ2Error):
    """A dataset, corpus or user file cannot be used as it is."""


class ModelError(PZ2Error):
    """A base model, adapter or version is missing, broken or refused."""


class TrainingError(PZ2Error):
    """A training run cannot start, or cannot go on."""


def from_os_error(error: OSError) -> PZ2Error:
    """The sentence for an error of the operating system."""
    import errno

    where = f" ({error.filename})" if error.filename else ""
    known = {
        errno.ENOSPC: ("The disk is full", "Free some space and run the command again; what was saved before is unharmed."),
        errno.EACCES: ("Permission denied", "Choose a folder you may write to with --root DIR, or change its permissions."),
        errno.EPERM: ("Permission denied", "Choose a folder you may write to with --root DIR, or change its permissions."),
        errno.EROFS: ("This disk is read-only", "Choose a folder you may write to with --root DIR."),
        errno.ENOENT: ("No such file or folder", "Check the path."),
        errno.EISDIR: ("That is a folder, not a file", "Name a file."),
        errno.ENOTDIR: ("A file stands where a folder is needed", "Move the file away, or choose another folder with --root DIR."),
    }
    what, fix = known.get(error.errno or 0, (error.strerror or str(error), "Check the path and the disk, then try again."))
    return PZ2Error(f"{what}{where}.", fix)
