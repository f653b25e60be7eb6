"""One door for the command line: `cl-flow`, or `python -m cl_flow`.

Exit codes: 0 done; 1 what was examined is not in order; 2 wrong words, or an input that
is refused in a sentence; 130 interrupted.
"""

__all__ = ["build_parser", "main"]

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from analysis.commands import COMMANDS

EXAMPLES = {
    ("data", "look"): "cl-flow data look slides-lite --root ~/photographs",
    ("data", "fetch"): "cl-flow data fetch",
    ("fit",): "cl-flow fit synthetic ewc --option strength=1e6 --seeds 3",
    ("import-hgad",): "cl-flow import-hgad logs --task bottle,cable --task grid,pill",
    ("evaluate",): "cl-flow evaluate synthetic-finetune-s0",
    ("diagnose",): "cl-flow diagnose synthetic-finetune-s0 --save report",
    ("methods",): "cl-flow methods synthetic --seeds 3",
    ("orders",): "cl-flow orders synthetic --order alphabetical --order random",
    ("claims",): "cl-flow claims synthetic ~/photographs",
    ("predecessors",): "cl-flow predecessors synthetic --passes 40 --seeds 3",
    ("runs", "list"): "cl-flow runs list --json",
    ("runs", "show"): "cl-flow runs show synthetic-finetune-s0",
    ("runs", "extend"): "cl-flow runs extend photos-finetune-s0 --task gnu,yak",
    ("runs", "size"): "cl-flow runs size",
    ("runs", "prune"): "cl-flow runs prune --unfinished --yes",
    ("doctor",): "cl-flow doctor --json",
    ("bench",): "cl-flow bench --only step",
    ("gallery",): "cl-flow gallery synthetic 00-summary",
    ("waits",): "cl-flow waits data/executed/synthetic --longer 5",
}
GROUPS = {"data": "Images of a preset or a folder.", "runs": "Runs on disk."}
JSON = "print JSON, where tasks are indices from 0"
# Mistakes of the user's: their message says all; others show where they came from.
REFUSED = (ValueError, KeyError, FileNotFoundError, NotADirectoryError, TypeError)


def main(words: Sequence[str] | None = None) -> int:
    """Run a command and show its answer; the exit code."""
    arguments = build_parser().parse_args(words)
    try:
        answer = arguments.command(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("cl-flow: interrupted; the next call goes on from here.\n")
        return 130
    except REFUSED as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        sys.stderr.write(f"cl-flow: {message}\n")
        return 2
    text = json.dumps(answer.facts) if arguments.json else answer.text
    try:
        sys.stdout.write(f"{text}\n")
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        sys.stderr.close()
    return answer.code


def build_parser() -> argparse.ArgumentParser:
    """Parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="cl-flow",
        description="Continual normalizing-flow anomaly detection, diagnosed.",
        epilog="Each command shows an example: cl-flow fit --help",
    )
    parser.add_argument("--version", action="version", version=version("cl_flow"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    groups = {
        name: commands.add_parser(name, help=text).add_subparsers(
            required=True, metavar="COMMAND"
        )
        for name, text in GROUPS.items()
    }
    for name, function in COMMANDS.items():
        parent = groups[name[0]] if len(name) > 1 else commands
        summary = (function.__doc__ or "").splitlines()[0]
        command = parent.add_parser(
            name[-1],
            help=summary,
            description=summary,
            epilog=f"Example: {EXAMPLES[name]}",
        )
        command.set_defaults(command=function)
        command.add_argument("--json", action="store_true", help=JSON)
        ARGUMENTS.get(name, _none)(command)
    return parser


# ---- arguments of each command


def _none(command: argparse.ArgumentParser) -> None:
    pass


def _preset(command: argparse.ArgumentParser) -> None:
    known = "a preset, say synthetic, slides-lite or mvtec, or a folder of images"
    command.add_argument("preset", help=known)
    words = "folder of images, laid out as MVTec AD, for that preset"
    command.add_argument("--root", help=words)
    command.set_defaults(seeds=1)


def _fetch(command: argparse.ArgumentParser) -> None:
    words = "where it shall be; data/raw/mvtec by default"
    command.add_argument("--root", metavar="FOLDER", help=words)
    words = "accept the licence without being asked"
    command.add_argument("--yes", action="store_true", help=words)


def _seeds(command: argparse.ArgumentParser, default: int) -> None:
    words = "runs of each kind, from seed 0 up"
    command.add_argument("--seeds", type=int, default=default, help=words)


def _one_run(command: argparse.ArgumentParser) -> None:
    words = "folder of a run, or its name, or how it begins"
    command.add_argument("run", metavar="RUN", help=words)
    words = "folder of its images, where that is another one now"
    command.add_argument("--root", help=words)


def _part(command: argparse.ArgumentParser) -> None:
    words = "score part: logp, entropy or product"
    command.add_argument("--part", default="product", help=words)


def _fit(command: argparse.ArgumentParser) -> None:
    _preset(command)
    words = "names of strategies; finetune by default"
    command.add_argument("strategy", nargs="*", help=words)
    words = "flow, uniad or iuf; flow by default"
    command.add_argument("--model", default="flow", help=words)
    words = "option of the strategy, as name=value; may be repeated"
    command.add_argument("--option", action="append", default=[], help=words)
    _device(command)
    words = "who trains several runs: processes here, serial, or ray"
    command.add_argument("--engine", default="processes", help=words)
    words = "of a Ray cluster: auto, or host:port; RAY_ADDRESS by default"
    command.add_argument("--address", help=words)
    words = "categories per task by name: 14-1, 10-5, 10-1x5, 3x5, 1x15"
    command.add_argument("--split", help=words)
    words = "order of the categories: alphabetical, random or textures_first"
    command.add_argument("--order", dest="order_of", metavar="ORDER", help=words)
    _blur(command)
    _seeds(command, 1)


def _device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", help="cpu, cuda, ...; the GPU when there is one")


def _blur(command: argparse.ArgumentParser) -> None:
    words = "spread of a category's images over tasks, which then have no boundaries"
    command.add_argument("--blur", type=float, metavar="TASKS", help=words)


def _orders(command: argparse.ArgumentParser) -> None:
    _preset(command)
    _blur(command)
    words = "an order, such as easy_to_hard or 'random 1'; once for each"
    command.add_argument("--order", action="append", required=True, help=words)
    words = "a strategy; once for each. finetune, replay, feature_gaussian by default"
    command.add_argument("--method", action="append", help=words)
    words = "file of category,score for orders by difficulty; joint AUROC by default"
    command.add_argument("--scores", metavar="FILE", help=words)
    words = "metric that they are ranked by"
    command.add_argument("--metric", default="image_auroc", help=words)
    _seeds(command, 2)


def _extend(command: argparse.ArgumentParser) -> None:
    _one_run(command)
    words = "categories of a further task, a,b,c; once for each task, in order"
    command.add_argument("--task", action="append", required=True, help=words)
    _device(command)


def _import_hgad(command: argparse.ArgumentParser) -> None:
    words = "folder of HGAD_<dataset>_task_<t>_img.pt, or one above it"
    command.add_argument("folder", metavar="FOLDER", help=words)
    words = "name of the dataset; mvtec, or with --root folder, by default"
    command.add_argument("--dataset", help=words)
    command.add_argument("--root", help="folder of the images it was trained on")
    words = "categories of a task, a,b,c; once for each task, in order"
    command.add_argument("--task", action="append", default=[], help=words)
    words = "field of FeatureConfig, as name=value; may be repeated"
    command.add_argument("--feature", action="append", default=[], help=words)
    words = "field of TrainConfig, as name=value; may be repeated"
    command.add_argument("--train", action="append", default=[], help=words)
    words = "clamp of the couplings; config.json tells it, too"
    command.add_argument("--alpha", type=float, help=words)
    command.add_argument("--seed", type=int, help="seed of the training")
    words = "log-scale: published, vendored, or auto, which looks at log p"
    command.add_argument("--rule", default="auto", help=words)
    words = "img or pix: the best pass by image or by pixel AUROC"
    command.add_argument("--best-by", default="img", help=words)


def _evaluate(command: argparse.ArgumentParser) -> None:
    _one_run(command)
    _part(command)


def _diagnose(command: argparse.ArgumentParser) -> None:
    _evaluate(command)
    words = "write report.html, figures and tables there"
    command.add_argument("--save", metavar="FOLDER", help=words)
    words = "train a control that never learned task 1; by default if it fell"
    flag = argparse.BooleanOptionalAction
    command.add_argument("--train", action=flag, default=None, help=words)


def _methods(command: argparse.ArgumentParser) -> None:
    _preset(command)
    _seeds(command, 3)


def _claims(command: argparse.ArgumentParser) -> None:
    known = "presets, or folders of images"
    command.add_argument("preset", nargs="+", help=known)
    _seeds(command, 1)


def _predecessors(command: argparse.ArgumentParser) -> None:
    _preset(command)
    words = "of UniAD and IUF over each task; the preset's by default"
    command.add_argument("--passes", type=int, help=words)
    _seeds(command, 1)


def _prune(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", nargs="*", help="names of runs to delete")
    words = "cached tables of all runs; they are computed again when asked for"
    command.add_argument("--tables", action="store_true", help=words)
    words = "runs that have not learned every task"
    command.add_argument("--unfinished", action="store_true", help=words)
    command.add_argument("--yes", action="store_true", help="delete without asking")


def _bench(command: argparse.ArgumentParser) -> None:
    words = "benchmarks whose names contain this"
    command.add_argument("--only", metavar="TEXT", default="", help=words)


def _gallery(command: argparse.ArgumentParser) -> None:
    _preset(command)
    command.add_argument("figure", nargs="+", help="names of figures, without suffix")


def _waits(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", help="where `make figures` left them")
    words = "seconds from which on a cell is listed; 5 by default"
    command.add_argument("--longer", type=float, default=5.0, help=words)


ARGUMENTS: dict[tuple[str, ...], Callable[[argparse.ArgumentParser], None]] = {
    ("data", "look"): _preset,
    ("data", "fetch"): _fetch,
    ("fit",): _fit,
    ("import-hgad",): _import_hgad,
    ("evaluate",): _evaluate,
    ("diagnose",): _diagnose,
    ("methods",): _methods,
    ("orders",): _orders,
    ("claims",): _claims,
    ("predecessors",): _predecessors,
    ("runs", "show"): _one_run,
    ("runs", "extend"): _extend,
    ("runs", "prune"): _prune,
    ("bench",): _bench,
    ("gallery",): _gallery,
    ("waits",): _waits,
}
