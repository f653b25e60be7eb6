"""A study is a preset with seeds; every run of it differs in strategy and seed only."""

import dataclasses
import json
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from analysis.detection import evaluate
from analysis.scoring import Scoring
from analysis.studies import ORDER_FILE, PRESETS, PUBLISHED, Study, study
from cl_flow import Run, StreamConfig, fit
from cl_flow.paths import DATA

OWN_IMAGES = [name for name, make in PRESETS.items() if make().base.dataset != "folder"]


@pytest.mark.parametrize("preset", OWN_IMAGES)
def test_a_preset_is_a_whole_config(preset):
    plan = study(preset, seeds=3)
    assert plan.seeds == (0, 1, 2) and plan.base == PRESETS[preset]().base
    one, other = plan.config("joint", seed=2), plan.config("finetune", seed=2)
    assert one.replace(strategy="finetune") == other and (
        one.seed_model,
        one.seed_data,
    ) == (2, 2)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_takes_a_folder_of_ones_own(preset, tiny):
    plan = study(preset, root=tiny.root)
    ours = PRESETS[preset]().base
    assert plan.base == ours.replace(dataset="folder", root=tiny.root)
    assert plan.tasks == [("ant", "bee", "cat"), ("dog", "elk", "fox")]


def test_mvtec_is_hgads_published_size():
    config = study("mvtec").base
    assert (
        config.features.backbone == "tf_efficientnet_b6.aa_in1k"
        and config.features.scales == (1, 2, 4)
    )
    assert (config.flow.n_blocks, config.flow.position_dim, config.train.epochs) == (
        12,
        256,
        200,
    )


def test_slides_differ_from_mvtec_in_schedule_and_scores_alone():
    slides, mvtec = study("slides"), study("mvtec")
    assert slides.base.replace(train=mvtec.base.train) == mvtec.base
    train = slides.base.train
    assert (train.epochs, train.staircase) == (10, 5)
    assert train.warmup == train.inter_only == 2 / 5
    usual = ("losses", "lr", "betas", "batch_images", "batch_patches", "final_lr")
    assert all(getattr(train, k) == getattr(mvtec.base.train, k) for k in usual)
    assert slides.scored == Scoring(normalise="set", size=256) == PUBLISHED


def test_slides_lite_differs_from_slides_in_features_and_images_alone():
    lite, slides = study("slides-lite"), study("slides")
    same = {"features": slides.base.features, "dataset": slides.base.dataset}
    assert lite.base.replace(**same) == slides.base and lite.scored == slides.scored


def test_where_scores_are_normalised_by_the_set_there_is_nothing_to_calibrate(tiny):
    few = {"metric": "image_auroc", "calibrate_on": 4}
    assert Study("a", tiny, (0,)).scoring(**few) == Scoring(**few)
    by_set = Study("a", tiny, (0,), PUBLISHED).scoring(**few)
    assert by_set == Scoring(metric="image_auroc", normalise="set", size=256)


@pytest.mark.parametrize(("preset", "width"), [("synthetic", 96), ("photographs", 128)])
@pytest.mark.parametrize("model", ["uniad", "iuf"])
def test_a_model_for_two_cores_still_counts_as_the_published(preset, width, model):
    shape = getattr(PRESETS[preset]().base, model)
    assert min(shape.n_encoder, shape.n_decoder) >= 2 and shape.width >= width
    assert shape.jitter == type(shape)().jitter
    assert shape.masked == {"uniad": shape.side // 2 - 1, "iuf": 0}[model]


def test_a_folder_of_ones_own_is_a_study(tiny):
    plan = study(tiny.root, seeds=[4])
    assert (
        plan.base.dataset == "folder"
        and plan.tasks[0] == ("ant", "bee", "cat")
        and plan.seeds == (4,)
    )
    assert "ant, bee, cat" in plan._repr_html_()
    assert plan == study("photographs", root=tiny.root, seeds=[4])
    assert plan.name == Path(tiny.root).name
    assert study("smoke", root=tiny.root).name == f"smoke-{plan.name}"


def test_a_folder_says_which_categories_arrive_when(tmp_path, tiny):
    root = tmp_path / "photographs"
    shutil.copytree(tiny.root, root)
    (root / ORDER_FILE).write_text("fox ant\nbee, dog\ncat\nelk\n")
    plan = study(root)
    assert plan.tasks == [("fox", "ant"), ("bee", "dog"), ("cat",), ("elk",)]
    assert len(study(root, stream=StreamConfig(split=2)).tasks) == 3
    (root / ORDER_FILE).write_text("fox ant\nbee")
    with pytest.raises(ValueError, match="Expected an order that names each category"):
        study(root)


def test_a_study_trains_what_is_missing_and_keeps_its_figures(tiny):
    plan = Study("tiny", tiny, (0, 1))
    runs = plan.fit("finetune", "joint")
    assert [(run.strategy, run.seed) for run in runs] == [
        ("finetune", 0),
        ("finetune", 1),
        ("joint", 0),
        ("joint", 1),
    ]
    assert [run.folder for run in plan.fit("finetune")] == [
        run.folder for run in runs[:2]
    ]
    assert fit(tiny).folder == runs[0].folder
    paths = plan.save(plt.figure(), "00-empty", notebook="00", runs=runs[:1])
    assert {path.suffix for path in paths} == {".pdf", ".svg", ".png"}
    manifest = json.loads((DATA / "figures" / "tiny" / "MANIFEST.json").read_text())
    assert manifest["00-empty"]["runs"] == [runs[0].name]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: study("synthetics"),
            "Unknown preset 'synthetics'; known: synthetic, smoke, photographs, mvtec, "
            "slides, slides-lite, or the path",
        ),
        (lambda: study("photographs"), "a folder of images for the preset 'photogr"),
        (lambda: study("smoke", root="no/such"), "a folder of images; got .*no/such"),
        (lambda: study(".", root="tests"), "a preset with root='tests'; got another"),
        (lambda: study("smoke", seeds=0), "how many seeds, at least one"),
        (lambda: study("smoke", seeds="3"), r"seeds=…\) of type int .* got '3'"),
        (lambda: study("smoke", seeds=[0, 0]), "each once; got"),
        (lambda: study("smoke", seeds=[0.5]), r"Sequence\[int\]; got \[0.5\]"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(
        (KeyError, TypeError, ValueError, FileNotFoundError), match=message
    ):
        call()


def test_trained_are_the_runs_that_are_there_and_nothing_is_trained(tiny):
    base = tiny.replace(train=dataclasses.replace(tiny.train, epochs=1))
    plan = Study("tiny", base, (70, 71))
    assert plan.trained("finetune") == []
    run = fit(plan.config("finetune", seed=71))
    assert [found.name for found in plan.trained("finetune", "joint")] == [run.name]


def test_a_folder_named_like_a_tag_is_shown_as_text(tiny, tmp_path):
    root = tmp_path / "<b onclick=x>photographs"
    shutil.copytree(tiny.root, root)
    plan = study(root)
    page = plan._repr_html_()
    assert "<b onclick" not in page and "&lt;b onclick=x&gt;photographs" in page
    run = Run.at(tiny.replace(root=str(root)), folder=tmp_path / "runs")
    assert "<b onclick" not in run._repr_html_() and "<" not in run.name


def photographs_of(tiny, root: Path, n: int) -> Path:
    """A folder of the first few categories."""
    for category in sorted(Path(tiny.root).iterdir())[:n]:
        shutil.copytree(category, root / category.name)
    return root


@pytest.mark.parametrize("n", [2, 3])
def test_few_categories_arrive_one_at_a_time(tiny, tmp_path, n):
    plan = study(photographs_of(tiny, tmp_path / "few", n))
    assert [len(task) for task in plan.tasks] == [1] * n


def test_what_makes_no_stream_is_refused_at_once(tiny, tmp_path):
    alone = photographs_of(tiny, tmp_path / "one", 1)
    three = photographs_of(tiny, tmp_path / "three", 3)
    for folder, stream in ((alone, None), (three, StreamConfig(split=3))):
        with pytest.raises(ValueError, match="two tasks or more; got one, .*split=1"):
            study(folder, stream=stream)


def test_a_folder_without_masks_is_a_study_when_asked(tiny, tmp_path):
    root = photographs_of(tiny, tmp_path / "unmasked", 2)
    for masks in root.glob("*/ground_truth"):
        shutil.rmtree(masks)
    with pytest.raises(FileNotFoundError, match="masks=False"):
        study(root)
    plan = study(root, masks=False)
    assert plan.base.title == "unmasked" and len(plan.tasks) == 2
    ours = plan.base
    base = tiny.replace(dataset=ours.dataset, root=ours.root, stream=ours.stream)
    metrics = ("image_auroc", "pixel_auroc")
    rows = evaluate(fit(base, progress=False), scoring=Scoring(metric=metrics))
    is_of_pixels = rows["metric"] == "pixel_auroc"
    assert rows[is_of_pixels]["value"].isna().all()
    assert rows[~is_of_pixels]["value"].notna().all()
    (one,) = list((root / "ant/test/blot").glob("000.png"))
    mask = root / "ant/ground_truth/blot/000_mask.png"
    mask.parent.mkdir(parents=True)
    shutil.copy(one, mask)
    some = evaluate(Run(fit(base, progress=False).folder), scoring=Scoring())
    of_pixels = some[some["metric"] == "pixel_auroc"]["value"]
    assert of_pixels.isna().all(), "a defect without a mask is no normal image"


def test_a_preset_of_our_own_images_has_its_masks():
    with pytest.raises(ValueError, match="got the preset 'smoke'"):
        study("smoke", masks=False)
