"""Several runs at a time on a Ray cluster, a task each.

A task trains in the data folder of its node. Where that is the one of whoever began the
sweep, it writes there; elsewhere each snapshot is sent back as it is learned. So a task
whose node is lost goes on at another one, after the last task that was learned.
"""

__all__ = ["COLUMNS", "fit_on_ray"]

import functools
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from cl_flow.identity import digest_of
from cl_flow.paths import DATA, atomic
from cl_flow.progress import Bar
from cl_flow.runs.config import RunConfig
from cl_flow.runs.processes import images_to_see
from cl_flow.runs.run import Run

COLUMNS = ["run", "node", "tries", "tasks", "images", "seconds", "state"]
TRIES = 4  # of a run whose nodes are lost
SECONDS = 0.5  # between two looks at a sweep

Files = dict[str, bytes]
Fit = Callable[..., Run]


def fit_on_ray(
    fit: Fit,
    configs: Sequence[RunConfig],
    *,
    device: str | torch.device | None = None,
    address: str | None = None,
    watch: Callable[[pd.DataFrame], None] | None = None,
) -> None:
    """Call `fit` on each config as a task of a Ray cluster.

    When one fails, or the user interrupts, the others are ended; all of them are
    continued by the next call.

    Args:
        fit: Function of a config, `device` and `progress`, known to another process by
            its name.
        configs: What to train.
        device: None takes a GPU for each run where the cluster has one.
        address: Of a cluster; None is the one in the environment variable RAY_ADDRESS,
            or else one begun here and ended afterwards.
        watch: Told the sweep as a table, with the columns `COLUMNS`, as it changes; a
            bar is shown without it.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ValueError: A GPU is asked for, and the cluster has none.
        RuntimeError: A node has another cl_flow or torch, or too many were lost.
    """
    ray = _ray()
    runs = [Run.at(config) for config in configs]
    with _cluster(ray, address), _mark() as mark:
        needs = _needs(ray, device)
        keeper = _begin_keeper(ray, runs)
        train = ray.remote(_train).options(max_retries=TRIES - 1, **needs)
        where = "cuda" if "num_gpus" in needs else "cpu"
        tasks = [
            train.remote(fit, config, run.name, where, mark, _source(), keeper)
            for config, run in zip(configs, runs)
        ]
        try:
            _wait(ray, tasks, keeper, configs, watch)
        except BaseException:
            for task in tasks:
                ray.cancel(task, force=True)
            raise


# ---- the cluster


def _ray() -> Any:
    try:
        return import_module("ray")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Expected Ray for engine='ray'; got none: pip install 'cl_flow[sweeps]'."
        ) from error


@contextmanager
def _cluster(ray: Any, address: str | None) -> Iterator[None]:
    """Be connected to a cluster; one that is begun here is ended."""
    if ray.is_initialized():
        yield
        return
    ray.init(address=address, log_to_driver=False, logging_level="error")
    try:
        yield
    finally:
        ray.shutdown()


def _needs(ray: Any, device: str | torch.device | None) -> dict[str, int]:
    """Resources of one run: what the cluster has not would be waited for for ever."""
    kind = None if device is None else torch.device(device).type
    n_gpus = ray.cluster_resources().get("GPU", 0)
    if kind == "cuda" and not n_gpus:
        raise ValueError(
            "Expected a cluster with a GPU for device='cuda'; got one with none of its "
            f"{len(ray.nodes())} nodes. device='cpu' trains there."
        )
    if n_gpus and kind != "cpu":
        return {"num_cpus": 1, "num_gpus": 1}
    return {"num_cpus": 1}


@contextmanager
def _mark() -> Iterator[str]:
    """Name of a file that is seen wherever the folder of runs is this one."""
    path = DATA / "runs" / f".sweep-{uuid.uuid4().hex}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)


@functools.cache
def _source() -> str:
    """Digest of this package's code, and torch's version."""
    package = Path(__file__).parent.parent
    texts = [path.read_text() for path in sorted(package.rglob("*.py"))]
    return f"{digest_of(texts, 8)}, torch {version('torch')}"


# ---- where the sweep was begun


class Keeper:
    """Runs of a sweep, on the node where it was begun: what is learned, and by whom.

    Args:
        folders: Folder of each run by its name.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.folders = folders
        self.rows: dict[str, dict[str, Any]] = {
            name: dict(zip(COLUMNS, (name, "", 0, 0, 0, 0.0, "waiting")))
            for name in folders
        }
        self.begun: dict[str, float] = {}
        self.in_tasks = dict.fromkeys(folders, 0)  # images seen for whole tasks

    def begin(self, name: str, node: str) -> None:
        """A task begins to train, perhaps after another was lost."""
        self.begun.setdefault(name, time.time())
        row = self.rows[name]
        row.update(node=node, tries=row["tries"] + 1, images=self.in_tasks[name])
        row["state"] = "training"

    def tell(self, name: str, n_images: int, n_tasks: int) -> None:
        """Some images were seen, once; so many tasks had been learned before."""
        row = self.rows[name]
        if n_tasks > row["tasks"]:
            self.in_tasks[name] = row["images"]
        row.update(images=row["images"] + n_images, tasks=n_tasks)
        row["seconds"] = round(time.time() - self.begun[name], 1)

    def end(self, name: str, n_tasks: int) -> None:
        """A run is complete."""
        self.tell(name, 0, n_tasks)
        self.rows[name]["state"] = "complete"

    def table(self) -> pd.DataFrame:
        """One row per run."""
        return pd.DataFrame(list(self.rows.values()), columns=COLUMNS)

    def files(self, name: str) -> Files:
        """What is kept of a run."""
        return files_of(self.folders[name])

    def keep(self, name: str, files: Files) -> None:
        """Write files of a run."""
        write_files(self.folders[name], files)


def files_of(folder: Path, *, but: Sequence[str] = ()) -> Files:
    """Contents of a run's files, but for its tables; some snapshots may be left out."""
    names = [*_snapshots(folder), "losses.csv", "run.json", "complete"]
    there = [folder / name for name in names if name not in but]
    return {path.name: path.read_bytes() for path in there if path.is_file()}


def write_files(folder: Path, files: Files) -> None:
    """Write files of a run, each whole, in the order in which a run is written."""
    order = sorted(files, key=lambda name: (name == "complete", "step" in name, name))
    for name in order:
        with atomic(folder / name) as path:
            path.write_bytes(files[name])


def _snapshots(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("step-*.safetensors"))


def _begin_keeper(ray: Any, runs: Sequence[Run]) -> Any:
    placements = import_module("ray.util.scheduling_strategies")
    here = ray.get_runtime_context().get_node_id()
    stays = placements.NodeAffinitySchedulingStrategy(here, soft=False)
    begin = ray.remote(Keeper).options(num_cpus=0, scheduling_strategy=stays)
    return begin.remote({run.name: run.folder for run in runs})


def _wait(
    ray: Any,
    tasks: Sequence[Any],
    keeper: Any,
    configs: Sequence[RunConfig],
    watch: Callable[[pd.DataFrame], None] | None,
) -> None:
    """Wait for all tasks; show, or tell, how far they are."""
    total = sum(map(images_to_see, configs))
    title = f"training {len(configs)} runs"
    told = None
    with Bar(total=total, desc=title, unit="image", disable=watch is not None) as bar:
        left = list(tasks)
        while left:
            done, left = ray.wait(left, num_returns=len(left), timeout=SECONDS)
            table = ray.get(keeper.table.remote())
            bar.update(table["images"].sum() - bar.n)
            if watch is not None and not table.equals(told):
                watch(table)
                told = table
            _raise_what_failed(ray, done)


def _raise_what_failed(ray: Any, tasks: Sequence[Any]) -> None:
    for task in tasks:
        try:
            ray.get(task)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise RuntimeError(
                f"Expected a node that lives; got {TRIES} that were lost, one after "
                "another, with the same run. What was learned is kept; the same call "
                f"goes on from it. Ray says: {error}"
            ) from error


# ---- on a node


def _train(
    fit: Fit,
    config: RunConfig,
    name: str,
    device: str,
    mark: str,
    source: str,
    keeper: Any,
) -> None:
    """Train one run on this node, and see that what is learned is kept.

    Args:
        fit: As for `fit_on_ray`.
        config: What to train.
        name: Of the run, where the sweep was begun.
        device: `"cpu"` or `"cuda"`.
        mark: File that is seen where the folder of runs is that of the sweep.
        source: Digest of the code there.
        keeper: Actor of `Keeper` there.
    """
    ray = _ray()
    here = ray.get_runtime_context().get_node_id()[:8]
    node = f"{ray.util.get_node_ip_address()}, {here}"
    if source != _source():
        raise RuntimeError(
            f"Expected the same code on every node; got {_source()} on {node}, and "
            f"{source} where the sweep was begun. Install the same version there."
        )
    ray.get(keeper.begin.remote(name, node))
    torch.set_num_threads(1)
    run = Run.at(config)
    is_away = not (DATA / "runs" / mark).is_file()
    sent = _fetch(run, ray.get(keeper.files.remote(name))) if is_away else set()

    def tell(n_images: int) -> None:
        if is_away:
            _send(ray, keeper, name, run, sent)
        keeper.tell.remote(name, n_images, len(run))

    fit(config, device=device, progress=tell)
    if is_away:
        _send(ray, keeper, name, run, sent)
    ray.get(keeper.end.remote(name, len(run)))


def _fetch(run: Run, kept: Files) -> set[str]:
    """Take over what is learned elsewhere, unless there is more here.

    Returns:
        Snapshots that need not be sent.
    """
    theirs = {name for name in kept if name.startswith("step-")}
    if len(run) > len(theirs):
        return set()
    write_files(run.folder, kept)
    return theirs


def _send(ray: Any, keeper: Any, name: str, run: Run, sent: set[str]) -> None:
    """Send what was learned since it was last sent."""
    new = set(_snapshots(run.folder)) - sent
    if new or run.is_complete:
        ray.get(keeper.keep.remote(name, files_of(run.folder, but=tuple(sent))))
        sent |= new
