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
from analysis.judgement.rule import SURE, VERDICTS
from analysis.ledger.illnesses import ILLNESSES, harmed
from analysis.ledger.measure import counterfactuals
from tests.analysis.turned import CLASSES, SCORING, TRAINING, drawn, trained

# A flow whose half is flattened loses nothing here, so nothing has to be explained.
DESERVED = {
    "nothing": {"undetermined"},
    "density_flattened": {"undetermined"},
    "centers_translated": {"reminded"},
    "latents_rotated": {"reminded"},
    "confusable_class": {"confused"},
    "blocks_reset": {"relearned", "lost"},
    "blocks_scrambled": {"lost"},
    "latents_rotated+confusable_class": {"mixed"},
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
    assert (
        turned.at["competition", "says"] == turned.at["old centers", "says"] == SILENT
    )
    assert rows.at[("confusable_class", "competition"), "says"] == "confused"
    assert rows.at[("centers_translated", "old centers"), "kept"] == pytest.approx(1)


def test_without_training_three_witnesses_are_heard():
    measured, _ = planted(0)
    rows = evidence(measured, resampling=FEW)
    assert set(rows["witness"]) == set(WITNESSES) - {"training"}


def test_the_verdict_is_that_of_its_evidence():
    """The shares of one image set decide; resamples only say how sure that is."""
    few, more = (
        verdicts(*planted(0), resampling=Resampling(n_resamples=n)) for n in (50, 150)
    )
    assert (few["leans"] == more["leans"]).all()
    np.testing.assert_allclose(few["drop"], more["drop"])


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
