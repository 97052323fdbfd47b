"""`check`: whether experts fit a pretrained model, in plain words."""

from __future__ import annotations

from ..checkpoints import open_checkpoints, reports
from ..errors import RecipeError, WeightsError
from ..problem import Problem
from ..suite import load_suite
from . import options
from .output import check_target, emit


def check(
    suite: options.SuiteName = None,
    experts: options.Experts = None,
    pretrained: options.Pretrained = None,
    expert: options.ExpertFiles = None,
    backbone: options.BackboneName = None,
    json_to: options.Json = None,
) -> None:
    """Report whether experts can be merged into a pretrained model: names, shapes, dtypes, finite values."""
    check_target(json_to)
    found = reports(problem_of(suite, experts, pretrained, expert, backbone))
    plain = [{"expert": r.expert, "ok": r.ok, "report": r.sentence(), "problems": list(r.problems)} for r in found]
    if not emit(plain, json_to):
        for report in found:
            if report.ok:
                print(report.sentence())
    bad = [r for r in found if not r.ok]
    if bad:
        others = f" ({len(bad)} of {len(found)} experts do not fit)" if len(bad) > 1 else ""
        raise WeightsError(bad[0].sentence() + others)


def problem_of(
    suite: str | None, experts: str | None, pretrained: object, expert: list[str] | None, backbone: str | None
) -> Problem:
    """Return the problem that the options name: a suite's, or that of checkpoint files."""
    if pretrained is None and not expert:
        chosen = load_suite(suite or options.DEFAULT_SUITE)
        return chosen.problem(options.experts_of(chosen, options.names(experts)))
    if suite is not None or experts is not None:
        raise RecipeError("Give either --suite and --experts, or --pretrained and --expert, not both.")
    files = options.expert_files(expert)
    if pretrained is None or not files:
        raise RecipeError("Checkpoint files take --pretrained PATH and --expert NAME=PATH for every expert.")
    return open_checkpoints(str(pretrained), files, backbone)
