"""The command line: one thin Click file a command group. Errors become one line and an exit code here, nowhere else.

Exit codes: 0 done, 1 the run failed or a check found something, 2 bad input or usage, 3 stopped by a cap,
130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence

import click

from raif import __version__
from raif.cli.lazy import LazyGroup
from raif.errors import RaifError

COMMANDS = {
    "init": "raif.cli.init:init",
    "constitution": "raif.cli.constitution:group",
    "prompts": "raif.cli.prompts:group",
    "generate": "raif.cli.feedback:generate",
    "revise": "raif.cli.feedback:revise",
    "judge": "raif.cli.judge:group",
    "label": "raif.cli.feedback:label",
    "merge": "raif.cli.merge:merge",
    "train": "raif.cli.train:group",
    "eval": "raif.cli.evaluate:evaluate",
    "report": "raif.cli.evaluate:report",
    "run": "raif.cli.run:run",
    "status": "raif.cli.run:status",
    "cache": "raif.cli.cache:group",
    "demo": "raif.cli.demo:demo",
}
"""Command name to ``module:attribute``, in the order of use; a module is imported when its command is."""


@click.group(
    cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="raif")
def cli() -> None:
    """Shape a language model with written principles.

    A constitution file says what a good response is; a judge model critiques, revises and compares a policy's
    responses by it; what the judge prefers trains a reward model and a better policy.

    \b
    Example:
      raif demo                 watch the whole loop on small models, no GPU or hub needed
      raif init my-project      write a configuration to start from
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(run_guarded(lambda: cli.main(args=arguments, prog_name="raif", standalone_mode=False)))


def run_guarded(action: Callable[[], object]) -> int:
    """Run ``action``; turn whatever stops it into one line on standard error and an exit code."""
    try:
        result = action()
        sys.stdout.flush()
    except SystemExit:
        # Out of standalone mode click exits by itself in one case alone, and without a word: a pipe without a reader.
        return _os_error(BrokenPipeError())
    except click.exceptions.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say("stopped; what was finished is kept, and the same command goes on from there")
        return 130
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        _say(" ".join(error.format_message().split()) + hint)
        return error.exit_code
    except RaifError as error:
        _say(str(error))
        return error.exit_code
    except OSError as error:
        return _os_error(error)
    return result if isinstance(result, int) else 0


def _os_error(error: OSError) -> int:
    if isinstance(error, BrokenPipeError):
        # Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _say("the reader of standard output went away before all was written")
        return 1
    where = f" {error.filename}:" if error.filename else ""
    what = "standard output or a disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _say(f"{where} {what}".strip())
    return 2 if error.errno in (errno.EACCES, errno.EROFS, errno.ENOENT, errno.EPERM, errno.EISDIR) else 1


def _say(text: str) -> None:
    print(f"raif: {text}", file=sys.stderr, flush=True)
