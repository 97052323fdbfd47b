"""The command line: one file, one command."""

from __future__ import annotations

import typer

from . import check, inspect, landscape, listing, merge, reference, sweep, table, train

COMMANDS = {
    "suites": listing.suites,
    "methods": listing.methods,
    "metrics": listing.metrics,
    "check": check.check,
    "merge": merge.merge,
    "inspect": inspect.inspect,
    "sweep": sweep.sweep,
    "landscape": landscape.landscape,
    "table": table.table,
    "train": train.train,
    "reference": reference.reference,
}

app = typer.Typer(
    help="Merge fine-tuned models, and see what happens.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for name, command in COMMANDS.items():
    app.command(name)(command)


@app.callback(invoke_without_command=True)
def overview(context: typer.Context) -> None:
    """Merge fine-tuned models, and see what happens."""
    if context.invoked_subcommand is None:
        print(context.get_help())
