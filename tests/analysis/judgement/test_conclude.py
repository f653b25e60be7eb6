"""What is planted gets the verdict that it deserves, one illness alone and two at once,
and nothing gets none.
"""

import functools

import numpy as np
import pandas as pd
import pytest

from analysis.intervals import Resampling
from analysis.judgement import evidence, sentence_of, verdicts
from analysis.judgement.conclude import SILENT, WITNESSES
from analysis.judgement.measure import recovery_of_ill
from analysis.judgement.rule import SURE, VERDICTS, words_of
from analysis.ledger.attribution import PLAYERS, ledger_states
from analysis.ledger.illnesses import ILLNESSES, harmed
from analysis.ledger.measure import counterfactuals
from tests.analysis.turned import CLASSES, SCORING, TRAINING, drawn, trained

# What is flattened often loses nothing here; of two illnesses one may do nearly all of
# the harm.
DESERVED = {
    "nothing": {"undetermined"},
    "density_flattened": {"undetermined", "reminded"},
    "centers_translated": {"reminded"},
    "latents_rotated": {"reminded"},
    "confusable_class": {"confused"},
    "blocks_reset": {"relearned", "lost"},
    "blocks_scrambled": {"lost"},
    "latents_rotated+confusable_class": {"mixed", "reminded", "confused"},
    "latents_rotated+blocks_reset": {"relearned", "lost"},
}
FEW = Resampling(n_resamples=200)


@functools.cache
def planted(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ledger and recovery of every illness, of a model of its own."""
    model = trained(seed=seed)
    features = drawn("turned", seed=seed)
    ledgers = [
        counterfactuals(
            model,
            harmed(model, name, seed=seed),
            features,
            CLASSES,
            family=("full",),
            scoring=SCORING,
        ).assign(illness=name)
        for name in DESERVED
    ]
    recovered = recovery_of_ill(
        model,
        features,
        CLASSES,
        TRAINING,
        illness=tuple(DESERVED),
        steps=(0, 3, 30, 100),
        seed=seed,
        scoring=SCORING,
    )
    keys = {"strategy": "planted", "step": 0, "task": 0}
    measured = pd.concat(ledgers, ignore_index=True).assign(**keys, given="category")
    return measured, recovered.assign(**keys)


def test_every_illness_is_planted():
    assert set(ILLNESSES) <= set(DESERVED)


@pytest.mark.parametrize("illness", DESERVED)
def test_it_is_given_no_verdict_that_it_does_not_deserve(illness):
    found = verdicts(*planted(0), resampling=FEW).set_index("illness")
    assert found.at[illness, "leans"] in DESERVED[illness]
    assert found.at[illness, "verdict"] in {*DESERVED[illness], "undetermined"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_over_seeds_no_illness_is_called_by_the_name_of_another(seed):
    found = verdicts(*planted(seed), resampling=FEW).set_index("illness")["verdict"]
    wrong = {
        name: word
        for name, word in found.items()
        if word not in {*DESERVED[name], "undetermined"}
    }
    assert not wrong


def test_what_is_said_is_sure_and_what_is_not_sure_is_not_said():
    found = verdicts(*planted(0), resampling=FEW)
    said = found[found["verdict"] != "undetermined"]
    assert (said["sure"] >= SURE).all() and (said["low"] > 0).all()
    assert (said["verdict"] == said["leans"]).all() and len(said) >= 4
    assert set(found["verdict"]) <= set(VERDICTS)


def test_each_witness_speaks_for_itself():
    rows = evidence(*planted(0), resampling=FEW).set_index(["illness", "witness"])
    turned = rows.loc["latents_rotated"]
    assert list(turned.index) == list(WITNESSES)
    assert turned.at["refit", "says"] == "reminded"
    assert turned.at["competition", "says"] == SILENT
    assert turned.at["old centers", "says"] == SILENT
    assert rows.at[("confusable_class", "competition"), "says"] == "confused"
    assert rows.at[("centers_translated", "old centers"), "kept"] == pytest.approx(1)
    assert (rows.loc["nothing", "says"] == "undetermined").all()
    assert rows.loc["nothing", ["back", "kept_low"]].isna().all(axis=None)
    assert set(turned["control"]) == {"", "untrained"}


def test_who_agrees_is_who_found_it():
    found = verdicts(*planted(0), resampling=FEW).set_index("illness")
    sides = found[["agree", "disagree"]]
    assert sides.loc["confusable_class"].tolist() == ["competition", ""]
    assert "refit" in sides.at["latents_rotated", "agree"]
    assert "refit" in sides.at["latents_rotated+confusable_class", "agree"]
    assert "competition" in sides.at["latents_rotated+confusable_class", "agree"]
    assert sides.loc["nothing"].tolist() == ["", ""]


def test_without_training_three_witnesses_are_heard():
    measured, _ = planted(0)
    rows = evidence(measured, resampling=FEW)
    assert set(rows["witness"]) == set(WITNESSES) - {"training"}


def test_the_verdict_is_that_of_its_evidence():
    rows = evidence(*planted(0), resampling=FEW)
    found = verdicts(*planted(0), resampling=FEW).set_index("illness")
    for illness, mine in rows.dropna(subset="kept").groupby("illness", sort=False):
        shares = mine.set_index("witness")[["back", "kept"]]
        others = shares.drop(index="competition").max()
        competition = shares.at["competition", "kept"]
        word = words_of(1.0, competition, others["kept"], others["back"])
        assert found.at[illness, "leans"] == word, illness


def ledger(**levels: float) -> pd.DataFrame:
    """A ledger whose states have the given image AUROC, to a thousandth."""
    defaults = {"learned": 0.95, "refitted": 0.95, "control": 0.4}
    states = ledger_states("full")
    rows = []
    for name, state in states.items():
        n_right = round(1000 * {**defaults, **levels}[name])
        scores = np.r_[
            np.zeros(20), np.ones(n_right // 50), -np.ones(20 - n_right // 50)
        ]
        labels = np.repeat([0, 1], 20)
        keys = ("r", "s", 1, 0, "ant", "category", *state, "image_auroc", "product")
        rows.append((*keys, n_right / 1000, labels, scores))
    columns = ["run", "strategy", "step", "task", "category", "given", *PLAYERS]
    columns += ["metric", "part", "value", "labels", "scores"]
    return pd.DataFrame(rows, columns=columns)


def test_what_makes_up_for_missing_rivals_is_no_memory():
    """Where it helps that later classes compete, a refit first has to replace them."""
    measured = ledger(final=0.7, masked=0.5, restored=0.5, realigned=0.75)
    rows = evidence(measured, resampling=FEW).set_index("witness")
    assert rows.at["refit", "back"] == pytest.approx(0.2, abs=0.01)
    assert verdicts(measured, resampling=FEW)["leans"].item() == "lost"


def test_training_is_heard_under_the_true_class_alone():
    measured, recovered = planted(0)
    routed = evidence(
        measured.assign(given="None"), recovered, given="None", resampling=FEW
    )
    assert "training" not in set(routed["witness"])


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (lambda rows: rows[rows["probe"] != "untrained"], "'untrained'; got forgotten"),
        (lambda rows: rows.assign(step=1), "Expected a recovery with .*step=0"),
        (lambda rows: rows.assign(update="flow"), "update='both'"),
    ],
)
def test_a_recovery_that_does_not_fit_is_refused(spoilt, message):
    measured, recovered = planted(0)
    with pytest.raises(ValueError, match=message):
        verdicts(measured, spoilt(recovered), resampling=FEW)


@pytest.mark.parametrize("illness", DESERVED)
def test_the_sentence_is_short_and_holds_the_word(illness):
    tables = [frame[frame["illness"] == illness] for frame in planted(0)]
    plain = [frame.drop(columns="illness") for frame in tables]
    found = verdicts(*plain, resampling=FEW)
    said = sentence_of(found, evidence(*plain, resampling=FEW))
    assert found["verdict"].item() in said and said.startswith("Task 1 fell by ")
    assert len(said.split()) <= 25, said
    untrained = plain[0]
    shorter = sentence_of(
        verdicts(untrained, resampling=FEW), evidence(untrained, resampling=FEW)
    )
    assert len(shorter.split()) <= 25, shorter
