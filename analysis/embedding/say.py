"""Embeddings in sentences."""

__all__ = ["summarise_embedding"]

import pandas as pd


def summarise_embedding(facts: pd.DataFrame, drift: pd.DataFrame) -> str:
    """Sentence on what became of the first task's latents.

    And on how far pictures of them can be trusted.

    Args:
        facts: A table of `latent_facts` of the latents.
        drift: A table of `apparent_drift`.
    """
    first = facts[facts["task"] == 0].groupby("step").mean(numeric_only=True)
    begin = first.iloc[0]
    end = first.iloc[-1]
    later = first.iloc[1:].mean()
    seen = (
        drift[drift["space"] == "features"]
        .groupby("method", sort=False)["drift"]
        .mean()
    )
    pictures = ", ".join(f"{value:.2f} ({method})" for method, value in seen.items())
    return (
        f"In the full-dimensional space, {begin['purity']:.0%} of the neighbours of "
        "the first task's normal patches "
        f"were of their own category when it had been learnt and {end['purity']:.0%} "
        "after the last step; the nearest "
        f"center was their own for {begin['own_center']:.0%} and "
        f"{end['own_center']:.0%}. From step to step these "
        f"patches moved by {later['drift']:.2f} of the spread of all latents, "
        f"{later['drift_rigid']:.2f} after the "
        f"best rotation and shift, and kept {later['overlap']:.0%} of their "
        "neighbours. Backbone features, which never "
        "move, appear to move in pictures by this share of their spread: "
        f"{pictures or 'not measured'}."
    )
