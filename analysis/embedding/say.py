"""Embeddings in sentences."""

__all__ = ["summarise_embedding"]

import pandas as pd

from analysis.rows import alike, matching


@alike
def summarise_embedding(facts: pd.DataFrame, drift: pd.DataFrame) -> str:
    """Sentences on the first task's latents, and on trust in their pictures.

    Args:
        facts: A table of `latent_facts` of the latents.
        drift: A table of `apparent_drift`.

    Example:
        >>> from analysis.embedding import apparent_drift, latent_facts
        >>> from analysis.embedding import measure_embedding
        >>> embedded = measure_embedding(run, method="joint", n_neighbors=5)
        >>> print(summarise_embedding(latent_facts(run), apparent_drift(embedded)))
        In the full-dimensional space, ...
    """
    first = matching(facts, task=0)
    steps = first.groupby("step").mean(numeric_only=True)
    sentences = [
        _neighbours(steps.iloc[0], steps.iloc[-1]),
        _moved(steps.iloc[1:].mean()),
        _pictures(matching(drift, space="features")),
    ]
    return ". ".join(sentences) + "."


def _neighbours(begin: pd.Series, end: pd.Series) -> str:
    return (
        f"In the full-dimensional space, {begin['purity']:.0%} of the neighbours of "
        "the first task's normal patches were of their own category when it had been "
        f"learned and {end['purity']:.0%} after the last step; the nearest center was "
        f"their own for {begin['own_center']:.0%} and {end['own_center']:.0%}"
    )


def _moved(later: pd.Series) -> str:
    return (
        f"From step to step these patches moved by {later['drift']:.2f} of the spread "
        f"of all latents, {later['drift_rigid']:.2f} after the best rotation and "
        f"shift, and kept {later['overlap']:.0%} of their neighbours"
    )


def _pictures(drift: pd.DataFrame) -> str:
    means = drift.groupby("method", sort=False)["drift"].mean()
    seen = [f"{value:.2f} ({method})" for method, value in means.items()]
    shares = ", ".join(seen) or "not measured"
    return (
        "Backbone features, which never move, appear to move in pictures by this "
        f"share of their spread: {shares}"
    )
