"""What each score of a head says: its formula and where it comes from, as the page prints them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """What a score says."""

    name: str
    title: str
    formula: str
    """Of one head's weights A, row i attending to key j, from 0; the mean runs over the rows named."""
    source: str
    unit: str = "weight"


DEFINITIONS = {
    definition.name: definition
    for definition in (
        Definition(
            name="previous_token",
            title="previous token",
            formula="mean over i ≥ 2 of A[i, i−1]  (in row 1, previous is first)",
            source="Voita et al. 2019, arXiv 1905.09418",
        ),
        Definition(
            name="first_token",
            title="first token (sink)",
            formula="mean over i ≥ 1 of A[i, 0]",
            source="Xiao et al. 2023, arXiv 2309.17453",
        ),
        Definition(
            name="self",
            title="itself",
            formula="mean over i ≥ 1 of A[i, i]",
            source="Clark et al. 2019, arXiv 1906.04341",
        ),
        Definition(
            name="two_back",
            title="two back",
            formula="mean over i ≥ 3 of A[i, i−2]  (in row 2, two back is first)",
            source="the positional rival of same class in an alternating sequence",
        ),
        Definition(
            name="same_class",
            title="same class",
            formula="mean of Σ A[i, j] over earlier j of i's class, rows that have one",
            source="property alignment: Vig & Belinkov 2019, arXiv 1906.04284, section 4.2",
        ),
        Definition(
            name="same_class_past_first",
            title="same class, first left out",
            formula="mean of Σ A[i, j] over earlier j ≥ 1 of i's class, rows that have one",
            source="as same class; what a sink collects is no credit",
        ),
        Definition(
            name="same_class_sink_free",
            title="same class, sink-free",
            formula="Σ A[i, j] over earlier j ≥ 1 of i's class ÷ Σ A[i, j] over earlier j ≥ 1, "
            "rows with keys of both kinds and at least 0.05 left",
            source="as same class, renormalised without the first token and itself",
            unit="share",
        ),
        Definition(
            name="digit_to_digit",
            title="digit to digit",
            formula="same class, first left out, digits' rows",
            source="as same class",
        ),
        Definition(
            name="letter_to_letter",
            title="letter to letter",
            formula="same class, first left out, letters' rows",
            source="as same class",
        ),
        Definition(
            name="duplicate_token",
            title="duplicate token",
            formula="mean of Σ A[i, j] over earlier j with i's token, rows that have one",
            source="Wang et al. 2022, arXiv 2211.00593, section 3.2",
        ),
        Definition(
            name="induction",
            title="induction",
            formula="mean of Σ A[i, j+1] over earlier j with i's token, j + 1 < i, rows that have one",
            source="prefix matching: Olsson et al. 2022, arXiv 2209.11895",
        ),
        Definition(
            name="entropy",
            title="entropy, normalised",
            formula="mean over i ≥ 1 of −Σ A[i, j] log A[i, j] ÷ log(number of visible keys)",
            source="Vig & Belinkov 2019, arXiv 1906.04284, section 4.3",
            unit="share of the largest possible",
        ),
        Definition(
            name="distance",
            title="distance",
            formula="mean over i ≥ 1 of Σ A[i, j] (i − j)",
            source="Vig & Belinkov 2019, arXiv 1906.04284, section 4.3",
            unit="tokens",
        ),
        Definition(
            name="confidence",
            title="confidence",
            formula="mean over i ≥ 1 of max A[i, j]",
            source="Voita et al. 2019, arXiv 1905.09418",
        ),
        *(
            Definition(
                name=f"norm_{name}",
                title=f"{title}, by value length",
                formula=f"as {title}, of A[i, j]·‖value j through the head’s projection‖ ÷ the row’s sum",
                source="Kobayashi et al. 2020, arXiv 2004.10102; uniform attention is weighed the same way",
                unit="share",
            )
            for name, title in (
                ("first_token", "first token"),
                ("previous_token", "previous token"),
                ("same_class_past_first", "same class, first left out"),
            )
        ),
    )
}
