"""A sweep on a cluster gives the runs that one would train alone, and loses nothing."""

import dataclasses
import sys

import pytest

from cl_flow import Run, fit
from cl_flow.runs.fitting import fit_all
from cl_flow.runs.sweeps import COLUMNS, Keeper, _fetch, files_of, write_files
from tests.cl_flow.runs.test_fitting import digests


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "dask"}, "Unknown engine 'dask'; known: processes, serial, ray"),
        ({"address": "auto"}, "Expected engine='ray' with an address or watch"),
        ({"engine": "serial", "watch": print}, "Expected engine='ray'"),
        ({"engine": "ray", "processes": 2}, "as many runs at a time as the cluster"),
    ],
)
def test_what_an_engine_does_not_take_is_refused(tiny, options, message):
    with pytest.raises((KeyError, ValueError), match=message):
        fit_all([tiny.replace(seed=41)], **options)
    assert Run.find(tiny.replace(seed=41)) is None, "nothing was begun"


def test_without_ray_one_is_told_what_to_install(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'cl_flow\[sweeps\]'"):
        fit_all([tiny.replace(seed=42)], engine="ray")


def test_serial_is_one_after_another(tiny):
    (run,) = fit_all([tiny.replace(seed=43)], engine="serial")
    assert run.is_complete


# ---- what is sent


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("whole")
    return fit(tiny.replace(seed=44), folder=folder, progress=False)


def test_a_run_is_sent_whole_and_is_complete_last(whole, tmp_path, monkeypatch):
    order = []
    replace = "cl_flow.paths.os.replace"
    rename = __import__("os").replace

    def noted(source, place):
        order.append(place.name)
        rename(source, place)

    monkeypatch.setattr(replace, noted)
    write_files(tmp_path, files_of(whole.folder))
    assert order[-1] == "complete"
    assert order[-3:-1] == ["step-00.safetensors", "step-01.safetensors"]
    assert digests(Run(tmp_path)) == digests(whole) and Run(tmp_path).is_complete


def test_a_node_takes_over_what_others_learned_unless_it_has_more(whole, tmp_path):
    first = {
        name: content
        for name, content in files_of(whole.folder).items()
        if name not in ("complete", "step-01.safetensors")
    }
    config = whole.config
    behind = Run.at(config, folder=tmp_path / "behind")
    assert _fetch(behind, first) == {"step-00.safetensors"} and len(behind) == 1
    fit(config, folder=tmp_path / "behind", progress=False)
    assert digests(behind) == digests(whole)
    assert _fetch(behind, first) == set() and len(behind) == 2


def test_images_of_a_lost_task_are_seen_again(whole):
    keeper = Keeper({"one": whole.folder})
    keeper.begin("one", "here")
    for n_tasks in (0, 0, 1):
        keeper.tell("one", 10, n_tasks)
    keeper.begin("one", "there")
    (row,) = keeper.table().itertuples()
    assert list(keeper.table().columns) == COLUMNS
    assert (row.images, row.tries, row.node, row.state) == (20, 2, "there", "training")
    keeper.tell("one", 10, 1)
    keeper.end("one", 2)
    (row,) = keeper.table().itertuples()
    assert (row.images, row.tasks, row.state) == (30, 2, "complete")


# ---- on two nodes


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_a_run_whose_node_is_killed_goes_on_elsewhere_to_the_same_bytes(
    tiny, tmp_path, shared
):
    """Two raylets on this machine; the second is killed in the middle of its run."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    train = dataclasses.replace(tiny.train, epochs=60)
    seeds = (50, 51, 52) if shared else (60, 61, 62)
    configs = [tiny.replace(seed=seed, train=train) for seed in seeds]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    away = {} if shared else {"CL_FLOW_DATA": str(tmp_path / "elsewhere")}
    node = cluster.add_node(num_cpus=1, env_vars=away)
    killed, tables = [], []

    def kill(table):
        tables.append(table)
        there = table[table["node"].str.endswith(node.node_id[:8])]
        in_its_middle = there[(there["tasks"] == 1) & (there["state"] == "training")]
        if len(in_its_middle) and not killed:
            killed.extend(in_its_middle["run"])
            cluster.remove_node(node, allow_graceful=False)

    try:
        runs = fit_all(configs, engine="ray", address=cluster.address, watch=kill)
    finally:
        cluster.shutdown()
    last = tables[-1].set_index("run")
    assert killed and (last.loc[killed, "tries"] == 2).all()
    assert (last["state"] == "complete").all() and (last["tasks"] == 2).all()
    for run, config in zip(runs, configs):
        alone = fit(config, folder=tmp_path / "alone", progress=False)
        assert run.is_complete and digests(run) == digests(alone)
