"""`python -m merge_engine`: the command line, with one clear line for whatever is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer
from safetensors import SafetensorError

from .cli import app
from .errors import MergeError

USAGE: tuple[type[Exception], ...]
try:
    USAGE = (typer.TyperException,)
except AttributeError:  # typer up to 0.23 raises click's own
    import click

    USAGE = (click.ClickException,)

BAD_INPUT = 2
STOPPED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 2 for bad input, 130 when stopped, 1 for a defect of ours."""
    try:
        return int(app(args=arguments, prog_name="python -m merge_engine", standalone_mode=False) or 0)
    except USAGE as error:
        return _fail(error.format_message(), BAD_INPUT)  # type: ignore[attr-defined]
    except (MergeError, SafetensorError) as error:
        return _fail(str(error), BAD_INPUT)
    except OSError as error:
        return _fail(f"{error.filename or 'A file'}: {error.strerror or error}.", BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("Stopped.", STOPPED)
    except Exception as error:
        if os.environ.get("MERGESCOPE_DEBUG"):
            raise
        hint = "set MERGESCOPE_DEBUG=1 for the traceback and report it"
        return _fail(f"Unexpected {type(error).__name__}: {error}; {hint}.", 1)


def _fail(message: str, code: int) -> int:
    print("Error: " + " ".join(message.split()), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
