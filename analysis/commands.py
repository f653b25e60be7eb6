"""Commands of `cl-flow`.

Each takes parsed arguments and returns what is to be shown.

What a command needs is imported when it runs, so that `--help` and `doctor` answer at
once, and on a machine where torch does not load.
"""

__all__ = [
    "Answer",
    "COMMANDS",
    "diagnose",
    "evaluate",
    "fit",
    "import_hgad",
    "methods",
]

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from cl_flow import Run

REPOSITORY = Path(__file__).resolve().parent.parent
GALLERY_SIDE = 800  # pixels


@dataclass(frozen=True)
class Answer:
    """Answer of a command.

    Args:
        facts: As JSON holds it, for `--json`.
        text: The same, for people.
        code: Exit code; 1 where what was examined is not in order.
    """

    facts: Any
    text: str
    code: int = 0

    @classmethod
    def of(cls, frame: "pd.DataFrame") -> "Answer":
        """Answer of a table."""
        text = frame.to_string(index=False) if len(frame) else "none"
        return cls(json.loads(frame.to_json(orient="records")), text)


# ---- data and runs by name


def _plan(arguments: argparse.Namespace) -> Any:
    from analysis.studies import study

    stream = None
    if getattr(arguments, "split", None) or getattr(arguments, "order_of", None):
        stream = _stream(arguments)
    plan = study(
        arguments.preset, root=arguments.root, seeds=arguments.seeds, stream=stream
    )
    if not getattr(arguments, "blur", None):
        return plan
    mixed = dataclasses.replace(plan.base.stream, blur=arguments.blur)
    return dataclasses.replace(plan, base=plan.base.replace(stream=mixed))


def _stream(arguments: argparse.Namespace) -> Any:
    """Stream of a named split, a named order, or both."""
    from cl_flow import StreamConfig

    named = {"split": arguments.split, "order": arguments.order_of}
    return StreamConfig(**{name: value for name, value in named.items() if value})


def _run(arguments: argparse.Namespace) -> "Run":
    """Run that the arguments name.

    a folder, or the beginning of a name.
    """
    from cl_flow import Run
    from cl_flow.paths import DATA
    from cl_flow.runs.library import run_folders

    place = Path(arguments.run).expanduser()
    if (place / "run.json").is_file():
        return Run(place, root=arguments.root)
    folders = run_folders(DATA / "runs")
    exact = [path for path in folders if path.name == arguments.run]
    matching = exact or [p for p in folders if p.name.startswith(arguments.run)]
    if len(matching) == 1:
        return Run(matching[0], root=arguments.root)
    known = matching or folders
    shown = ", ".join(path.name for path in known[:8]) or f"none in {DATA / 'runs'}"
    raise ValueError(
        f"Expected the folder of a run, or one run's name or its beginning; got "
        f"{arguments.run!r}. {'Beginning so' if matching else 'Known'}: {shown}."
    )


def data_look(arguments: argparse.Namespace) -> Answer:
    """Open every image and mask of a preset, and count them."""
    from cl_flow.data.datasets.check import validate

    samples = _plan(arguments).samples()
    validate(samples, progress=not arguments.json)
    counts = samples.groupby(["category", "split"]).size().unstack(fill_value=0)
    return Answer.of(counts.reset_index())


def data_fetch(arguments: argparse.Namespace) -> Answer:
    """Download MVTec AD, once its licence is accepted."""
    from cl_flow.data.datasets.mvtec import fetch, is_complete, terms

    question = f"MVTec AD: {terms()}. Download it?"
    is_wanted = is_complete(arguments.root) or arguments.yes or _agreed(question)
    if not is_wanted:
        raise ValueError(
            f"Expected --yes, which accepts the licence of MVTec AD ({terms()}); got "
            "no agreement, and nothing was downloaded."
        )
    root = fetch(arguments.root)
    return Answer({"root": str(root)}, f"MVTec AD is in {root}")


def _agreed(question: str) -> bool:
    """Whether the person at the terminal, if there is one, says yes."""
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def fit(arguments: argparse.Namespace) -> Answer:
    """Train runs of a preset where they are missing."""
    from cl_flow.runs import fit_all

    plan = _plan(arguments)
    options = dict(map(_option, arguments.option))
    strategies = arguments.strategy or ["finetune"]
    if options and len(strategies) > 1:
        raise ValueError(
            f"Expected options for one strategy; got {', '.join(strategies)}."
        )
    configs = [
        plan.config(name, seed=seed, options=options, model=arguments.model)
        for name in strategies
        for seed in plan.seeds
    ]
    engine, address = arguments.engine, arguments.address
    watch = _tell_sweep if engine == "ray" and not arguments.json else None
    runs = fit_all(
        configs,
        device=arguments.device,
        engine=engine,
        address=address,
        watch=watch,
    )
    return _listed(runs)


def _tell_sweep(table: "pd.DataFrame") -> None:
    tell(table.to_string(index=False))


def _option(text: str) -> tuple[str, Any]:
    """Name and value of `name=value`.

    The value as JSON, or as it is.
    """
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise ValueError(f"Expected options as name=value; got {text!r}.")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def import_hgad(arguments: argparse.Namespace) -> Answer:
    """Make a run of the checkpoint files of HGAD's public continuation."""
    from cl_flow import FeatureConfig, Run, TrainConfig

    run = Run.from_hgad(
        arguments.folder,
        dataset=arguments.dataset or ("folder" if arguments.root else "mvtec"),
        root=arguments.root,
        tasks=[names.split(",") for names in arguments.task] or None,
        features=_built(FeatureConfig, arguments.feature),
        alpha=arguments.alpha,
        train=_built(TrainConfig, arguments.train),
        seed=arguments.seed,
        rule=arguments.rule,
        best_by=arguments.best_by,
    )
    facts = {"run": run.name, "source": run.source, "complete": run.is_complete}
    return Answer(facts, repr(run))


def _built(kind: type, options: Sequence[str]) -> Any:
    """Configuration of name=value, or None where nothing is said."""
    from cl_flow.runs.config import build_config

    return build_config(kind, dict(map(_option, options))) if options else None


def evaluate(arguments: argparse.Namespace) -> Answer:
    """Image and pixel AUROC of each task under a run's last model."""
    from analysis.detection import evaluate as evaluated
    from analysis.detection import task_table
    from analysis.pages import shown

    run = _run(arguments)
    table = task_table(evaluated(run), part=arguments.part)
    text = shown(table).to_string(index=False)
    head = "\n".join(filter(None, [run.name, run.source]))
    return dataclasses.replace(Answer.of(table.round(4)), text=f"{head}\n{text}")


def diagnose(arguments: argparse.Namespace) -> Answer:
    """Say what a run forgot, and save the report if asked."""
    from analysis.report import diagnose as diagnosed

    run = _run(arguments)
    report = diagnosed(run, part=arguments.part, train=arguments.train)
    facts = {
        "run": run.name,
        "source": run.source,
        "verdict": report.verdict,
        "sentence": report.sentence,
        "files": [],
    }
    lines = [f"{run.name}: {report.verdict}", report.sentence]
    lines += [run.source] if run.source else []
    if arguments.save:
        paths = report.save(arguments.save)
        facts["files"] = [str(path) for path in paths]
        lines.append(f"{len(paths)} files in {arguments.save}, report.html first.")
    return Answer(facts, "\n".join(lines))


def methods(arguments: argparse.Namespace) -> Answer:
    """Every method at every strength, trained and measured: hours."""
    from analysis.methods import measure_methods, methods_table, suite_hours
    from analysis.pages import shown

    plan = _plan(arguments)
    if not arguments.json:
        hours = suite_hours(plan)
        tell(f"About {hours:.1f} hours on this machine if nothing is there yet.")
    compared = measure_methods(plan).compared
    return Answer(
        json.loads(compared.to_json(orient="records")),
        shown(methods_table(compared)).to_string(index=False),
    )


def claims(arguments: argparse.Namespace) -> Answer:
    """The slides' claims beside what studies measure, with their controls."""
    import pandas as pd

    from analysis.claims import claims_page, measure_claims
    from analysis.studies import study

    plans = [study(name, seeds=arguments.seeds) for name in arguments.preset]
    measured = pd.concat(map(measure_claims, plans), ignore_index=True)
    facts = json.loads(measured.to_json(orient="records"))
    return Answer(facts, claims_page(measured))


def predecessors(arguments: argparse.Namespace) -> Answer:
    """Claims about what came before the flow, measured: UniAD, IUF, sparse training."""
    from analysis.pages import shown
    from analysis.predecessors import measure_predecessors, of_passes

    plan = _plan(arguments)
    if arguments.passes is not None:
        plan = of_passes(plan, arguments.passes)
    measured = measure_predecessors(plan)
    text = shown(measured.drop(columns=["claim", "of", "against"]))
    answer = Answer.of(measured.round(4))
    return dataclasses.replace(answer, text=text.to_string(index=False))


# ---- runs on disk


def runs_list(arguments: argparse.Namespace) -> Answer:
    """All runs: what they learned and differ in, their size and age."""
    from cl_flow.runs.library import describe_runs

    return Answer.of(describe_runs())


def runs_show(arguments: argparse.Namespace) -> Answer:
    """Config, versions and steps of a run."""
    run = _run(arguments)
    facts = {**run.facts, "folder": str(run.folder), "complete": run.is_complete}
    return Answer(facts, json.dumps(facts, indent=1, ensure_ascii=False))


def runs_size(arguments: argparse.Namespace) -> Answer:
    """Bytes of every run: snapshots, cached tables, and the rest."""
    from cl_flow.runs.library import run_sizes

    return Answer.of(run_sizes())


def runs_prune(arguments: argparse.Namespace) -> Answer:
    """Delete cached tables, or runs, once you agree; else only say which."""
    from cl_flow.runs.library import prunable, prune

    chosen = prunable(
        tables=arguments.tables, unfinished=arguments.unfinished, names=arguments.run
    )
    n_bytes = sum(size for _, size in chosen)
    names = "".join(f"\n  {path}" for path, _ in chosen)
    amount = f"{len(chosen)} folders, {n_bytes / 1e6:.1f} MB"
    question = f"{names.lstrip()}\nDelete {amount}?"
    is_wanted = arguments.yes or (bool(chosen) and _agreed(question))
    verb = "Deleted" if is_wanted else "Would delete (say --yes)"
    if is_wanted:
        prune([path for path, _ in chosen])
    facts = {"deleted": is_wanted, "bytes": n_bytes}
    facts["paths"] = [str(path) for path, _ in chosen]
    return Answer(facts, f"{verb} {amount}.{names}")


def runs_extend(arguments: argparse.Namespace) -> Answer:
    """Learn categories that have arrived since, after all of a complete run."""
    from cl_flow.runs import fit

    tasks = [names.split(",") for names in arguments.task]
    longer = _run(arguments).extend(tasks)
    return _listed([fit(longer.config, device=arguments.device)])


def orders(arguments: argparse.Namespace) -> Answer:
    """How far the ranking of methods is the doing of the categories' order."""
    from analysis.orders import order_study, order_table, summarise_orders
    from analysis.orders.measure import METHODS
    from analysis.pages import shown
    from cl_flow.data.orders import read_scores
    from cl_flow.strategies import STRATEGIES

    able = [m for m in METHODS if not STRATEGIES[m].needs_boundaries]
    measured = order_study(
        _plan(arguments),
        arguments.order,
        methods=arguments.method or (able if arguments.blur else METHODS),
        scores=read_scores(arguments.scores) if arguments.scores else None,
    )
    table = order_table(measured, metric=arguments.metric)
    said = summarise_orders(measured, metric=arguments.metric)
    text = f"{shown(table).to_string(index=False)}\n{said}"
    return dataclasses.replace(Answer.of(table.round(4)), text=text)


def _listed(runs: "Iterable[Run]") -> Answer:
    from cl_flow.runs.library import describe_runs

    names = [run.name for run in runs]
    rows = describe_runs()
    return Answer.of(rows[rows["run"].isin(names)])


# ---- the installation


def doctor(arguments: argparse.Namespace) -> Answer:
    """Examination of the installation, with the command that mends what is wrong."""
    from cl_flow.doctor import examine, report

    findings = examine()
    facts = [vars(finding) for finding in findings]
    code = int(any(finding.remedy for finding in findings))
    return Answer(facts, report(findings), code)


def bench(arguments: argparse.Namespace) -> Answer:
    """Benchmarks beside what one would run instead; a quarter of an hour."""
    folder = REPOSITORY / "tests" / "benchmarks"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Expected a checkout with tests/benchmarks; got {REPOSITORY}. "
            "Clone the repository and install it with pip install -e '.[dev]'."
        )
    files = sorted(str(path) for path in folder.glob("bench_*.py"))
    switches = ["enable", "only", "quiet"]
    command = [sys.executable, "-m", "pytest", "-q", *files]
    command += [f"--benchmark-{switch}" for switch in switches]
    command += ["-k", arguments.only] if arguments.only else []
    done = subprocess.run(command, cwd=REPOSITORY)
    table = REPOSITORY / "data" / "benchmarks"
    facts = {"code": done.returncode, "folder": str(table)}
    return Answer(facts, f"Measured tables: {table}", done.returncode)


def gallery(arguments: argparse.Namespace) -> Answer:
    """Smaller copies of the figures that README shows."""
    from PIL import Image

    from cl_flow.paths import DATA

    source = DATA / "figures" / _plan(arguments).name
    folder = REPOSITORY / "data" / "gallery"
    folder.mkdir(exist_ok=True)
    paths = []
    for name in arguments.figure:
        image = Image.open(source / f"{name}.png").convert("RGB")
        image.thumbnail((GALLERY_SIDE, GALLERY_SIDE), Image.Resampling.LANCZOS)
        path = folder / f"{name}.png"
        image.save(path, optimize=True)
        paths.append(str(path))
    return Answer(paths, "\n".join(paths))


def waits(arguments: argparse.Namespace) -> Answer:
    """Cells of executed notebooks that one waits for."""
    import pandas as pd

    paths = sorted(Path(arguments.folder).glob("*.ipynb"))
    if not paths:
        raise FileNotFoundError(
            f"Expected a folder of executed notebooks; got none in {arguments.folder}."
        )
    rows = [row for path in paths for row in _timed(path)]
    table = pd.DataFrame(rows, columns=["notebook", "cell", "seconds", "begins"])
    return Answer.of(table[table["seconds"] >= arguments.longer].round(1))


def _timed(path: Path) -> Iterable[tuple[str, int, float, str]]:
    """Each cell that papermill timed: where it is, its seconds, its first line."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for number, cell in enumerate(cells, 1):
        seconds = cell["metadata"].get("papermill", {}).get("duration")
        if seconds is not None and cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            first = next((s for s in lines if s and s[0] not in "%#"), "")
            yield path.stem, number, seconds, first[:60]


def tell(text: str) -> None:
    """Say something while a command is at work."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


# Words of the command -> the function.
COMMANDS: dict[tuple[str, ...], Callable[[argparse.Namespace], Answer]] = {
    ("data", "look"): data_look,
    ("data", "fetch"): data_fetch,
    ("fit",): fit,
    ("import-hgad",): import_hgad,
    ("evaluate",): evaluate,
    ("diagnose",): diagnose,
    ("methods",): methods,
    ("orders",): orders,
    ("claims",): claims,
    ("predecessors",): predecessors,
    ("runs", "list"): runs_list,
    ("runs", "show"): runs_show,
    ("runs", "extend"): runs_extend,
    ("runs", "size"): runs_size,
    ("runs", "prune"): runs_prune,
    ("doctor",): doctor,
    ("bench",): bench,
    ("gallery",): gallery,
    ("waits",): waits,
}
