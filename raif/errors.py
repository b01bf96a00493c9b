"""Every error that raif raises on purpose.

    RaifError                   exit 1: the run failed
    ├── InputError              exit 2: something given to raif is wrong; names the place and the remedy
    │   ├── ConfigError         a configuration file, --set or a flag
    │   ├── ConstitutionError   a constitution file
    │   ├── PromptError         a template, or a name missing from it
    │   └── ModelSpecError      a model that can't be found, opened or understood
    ├── StoreError              a damaged or foreign artefact
    │   └── RunLockedError      another process is writing the same run
    ├── ModelError              a backend that broke as a whole (one bad reply is data, not an error)
    ├── TrainingError           a trainer that could not start or diverged
    ├── UnqualifiedJudge        a judge that has to qualify first, and has not
    └── CapReached              exit 3: a cap stopped the run; all finished work is kept

They become messages and exit codes in ``raif.cli`` and nowhere else.
"""

from __future__ import annotations

from pathlib import Path


class RaifError(Exception):
    """A failure that raif can explain in one line.

    ``str(error)`` is that line: what is wrong, where, and what to do about it.
    """

    exit_code = 1


class InputError(RaifError):
    """Something given to raif is wrong. Names the file, line or field, and the remedy."""

    exit_code = 2

    def __init__(
        self, message: str, *, path: Path | str | None = None, line: int | None = None, column: int | None = None
    ) -> None:
        place = "" if path is None else str(path)
        if line is not None:
            place += f":{line}" if place else f"line {line}"
            if column is not None:
                place += f":{column}"
        super().__init__(f"{place}: {message}" if place else message)
        self.message, self.path, self.line, self.column = message, path, line, column


class ConfigError(InputError):
    """A configuration file, a ``--set`` or a flag."""


class ConstitutionError(InputError):
    """A constitution file that can't be read as one."""


class PromptError(InputError):
    """A template that is missing, malformed or lacks a name it uses."""


class ModelSpecError(InputError):
    """A model specification that can't be found, opened or understood."""


class StoreError(RaifError):
    """A damaged or foreign artefact."""


class RunLockedError(StoreError):
    """Another process is writing the same run."""


class ModelError(RaifError):
    """A backend that broke as a whole. One bad reply is data (see ``raif.models.base.Failure``)."""


class TrainingError(RaifError):
    """A trainer that could not start, or diverged."""


class UnqualifiedJudge(RaifError):
    """A judge that has to qualify before it labels, and has not."""


class CapReached(RaifError):
    """A cap stopped the run; all finished work is kept."""

    exit_code = 3
