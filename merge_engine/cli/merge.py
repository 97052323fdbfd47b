"""`merge`: merge the experts of a suite, or checkpoint files, and score and write the result."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from ..checkpoints import open_checkpoints, require_fit
from ..contract import Context
from ..devices import chosen_device
from ..errors import RecipeError
from ..merged import StaticMerged
from ..methods import method_class
from ..running import merge_steps
from ..runs.content import checkpoint_digest, suite_digest
from ..runs.recipe import Recipe, read_recipe
from ..runs.results import Result, Results
from ..runs.run import Protocol, describe, history_of, run_steps
from ..save import check_free, finished, save_steps, writable
from ..suite import Suite, load_suite
from ..tensorwise import StoreMerge
from ..weights import SafetensorsWeights
from . import options
from .output import check_target, emit, followed, note, print_table


def merge(
    suite: options.SuiteName = None,
    method: Annotated[str | None, typer.Option("--method", help="Key of the merge method; see `methods`.")] = None,
    experts: options.Experts = None,
    given: options.Settings = None,
    post: Annotated[list[str] | None, typer.Option("--post", help="Key of a post-step; repeat for several.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Recipe file, JSON or TOML; options win over it.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of random methods. [0]")] = None,
    device: options.Device = None,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Score the merge beside its experts.")] = False,
    split: Annotated[str | None, typer.Option("--split", help="score, validation or adapt. [score]")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Score at most so many pictures per task.")] = None,
    tasks: Annotated[str | None, typer.Option("--tasks", help="Tasks to score: A,B or all, seen, unseen.")] = None,
    half: Annotated[
        str | None, typer.Option("--half", help="Test half that an adaptive method sees: adapt or score. [adapt]")
    ] = None,
    watch: Annotated[
        int, typer.Option("--watch", help="Score so many pictures per task now and then while a method adapts.", min=0)
    ] = 0,
    corruption: Annotated[
        str | None, typer.Option("--corruption", help="Score corrupted pictures: KIND:SEVERITY, such as jpeg:3.")
    ] = None,
    clean_stream: Annotated[
        bool, typer.Option("--clean-stream", help="With --corruption: let the method adapt to clean pictures.")
    ] = False,
    preset: Annotated[str | None, typer.Option("--preset", help="Named parameters, such as cpu; --set wins.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write the merged model here.")] = None,
    pretrained: options.Pretrained = None,
    expert: options.ExpertFiles = None,
    backbone: options.BackboneName = None,
    json_to: options.Json = None,
) -> None:
    """Merge experts by a method; score with --evaluate, write with --out."""
    asked = {"suite": suite, "experts": options.names(experts), "method": method, "seed": seed}
    wanted = wanted_recipe(config, {k: v for k, v in asked.items() if v is not None}, given, post, preset)
    place = chosen_device(device)
    check_target(json_to)
    if not evaluate and ((split, limit, tasks, half, corruption) != (None,) * 5 or watch or clean_stream):
        raise RecipeError(
            "--split, --limit, --tasks, --half, --watch, --corruption and --clean-stream say how to score; "
            "add --evaluate."
        )
    if pretrained is not None or expert:
        if evaluate:
            raise RecipeError("Checkpoint files come without pictures to score on; drop --evaluate, or use a suite.")
        result = _merge_files(pretrained, options.expert_files(expert), backbone, wanted, place, out)
    else:
        chosen = load_suite(wanted.get("suite") or options.DEFAULT_SUITE).on(place)
        scored = (split or "score", limit, options.tasks_of(chosen, tasks), half or "adapt", watch)
        protocol = Protocol(*scored, corruption or "", clean_stream) if evaluate else None
        result = _merge_suite(chosen, wanted, protocol, out)
    if not emit(result.to_dict(), json_to):
        show(result)
        if out is not None:
            print(f"Written to {out}.")


def show(result: Result) -> None:
    """Print a result for people."""
    rows: list[Any] = [(t, a.pretrained, a.merged, a.expert, a.n) for t, a in result.accuracy.items()]
    if rows:
        print_table(("task", "pretrained %", "merged %", "expert %", "pictures"), rows)
        normal = "–" if result.normalised_average is None else f"{result.normalised_average:.1f} % of the experts"
        print(f"Average over the experts' tasks: {result.average or 0:.2f} % ({normal}).")
    print(result.protocol)
    timed = f"Merged in {result.seconds['merge']:.1f} s, scored in {result.seconds['score']:.1f} s"
    print(f"{timed}; {result.stored_parameters / 1e6:.2f} M parameters to store; recipe {result.recipe}.")
    for point in result.curve:
        print(f"Update {point['step']}: {point['average']:.1f} % after {point['seconds']:.0f} s, on a few pictures.")
    for warning in result.warnings:
        print(f"Note: {warning}")


def wanted_recipe(
    config: Path | None,
    asked: dict[str, Any],
    given: list[str] | None,
    post: list[str] | None,
    preset: str | None,
) -> dict[str, Any]:
    """Return the recipe's keys from the file with the options on top; another method drops the file's parameters."""
    wanted = {} if config is None else read_recipe(config)
    if asked.get("method") not in (None, wanted.get("method")):
        wanted["parameters"] = {}
    wanted |= asked
    if "method" not in wanted:
        raise RecipeError("No merge method was given; add --method, such as --method task_arithmetic.")
    if post is not None:
        wanted["post"] = [{"method": key, "parameters": {}} for key in post]
    steps = [{"method": s, "parameters": {}} if isinstance(s, str) else s for s in wanted.get("post", [])]
    values = options.settings(given, [s["method"] for s in steps])
    named = method_class(wanted["method"]).preset(preset) if preset else {}
    wanted["parameters"] = {**wanted.get("parameters", {}), **named, **values[""]}
    wanted["post"] = [{**s, "parameters": {**s.get("parameters", {}), **values[s["method"]]}} for s in steps]
    return wanted


def _merge_suite(
    suite: Suite, wanted: dict[str, Any], protocol: Protocol | None, out: Path | None
) -> Result:
    names = options.experts_of(suite, wanted.get("experts"))
    recipe = checked({**wanted, "suite": suite.name, "experts": names})
    source = suite_digest(suite, recipe.experts, "score")
    if out is not None and protocol is None and _already(suite.pretrained, out, recipe, source):
        return _nothing_done(suite.pretrained, out, recipe, source)
    if out is not None:
        check_free(suite.pretrained, writable(out))
    run = followed(run_steps(suite, recipe, protocol), "merging")
    if protocol is not None:
        Results(suite.name).save(run.result, history_of(run.merged), run.scores)
    if out is not None:
        followed(save_steps(run.merged, suite.pretrained, out, recipe, source), "writing")
    return run.result


def _merge_files(
    pretrained: Path | None,
    experts: dict[str, Path],
    backbone: str | None,
    wanted: dict[str, Any],
    place: torch.device,
    out: Path | None,
) -> Result:
    if pretrained is None or not experts:
        raise RecipeError("Merging files takes --pretrained PATH and --expert NAME=PATH for every expert.")
    if wanted.get("suite") or wanted.get("experts"):
        raise RecipeError("Give either --suite and --experts, or --pretrained and --expert, not both.")
    recipe = checked({**wanted, "suite": "", "experts": list(experts)})
    problem = open_checkpoints(pretrained, experts, backbone)
    base = SafetensorsWeights(pretrained)
    source = checkpoint_digest([pretrained, *experts.values()])
    if out is not None and _already(base, out, recipe, source):
        return _nothing_done(base, out, recipe, source)
    fits = require_fit(problem)
    if out is not None:
        check_free(base, writable(out))
    for sentence in fits:
        note(sentence)
    method, post = recipe.build()
    start = time.perf_counter()
    ctx = Context(device=place, seed=recipe.seed)
    merged = followed(merge_steps(problem, method, post, ctx), "merging")
    seconds = {"merge": time.perf_counter() - start, "score": 0.0}
    if out is not None:
        followed(save_steps(merged, base, out, recipe, source), "writing")
    return describe(recipe, merged, seconds, "Merged from files, not scored.", source)


def checked(wanted: dict[str, Any]) -> Recipe:
    """Return the recipe, after what can be refused before any weight is read."""
    recipe = Recipe.from_dict(wanted)
    if len(recipe.experts) == 1:
        raise RecipeError(f"Merging takes at least two experts; got only '{recipe.experts[0]}'. Name another one.")
    recipe.build()[0].check(recipe.experts)
    return recipe


def _already(base: SafetensorsWeights, out: Path, recipe: Recipe, source: str) -> bool:
    return not isinstance(recipe.build()[0], StoreMerge) and finished(base, out, recipe, source)


def _nothing_done(base: SafetensorsWeights, out: Path, recipe: Recipe, source: str) -> Result:
    merged = StaticMerged(base, {}, {}, notes=(f"{out} already holds this merge; nothing was computed.",))
    return describe(recipe, merged, {"merge": 0.0, "score": 0.0}, "Merged before, not scored.", source)
