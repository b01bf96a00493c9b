"""The settings of two papers, by the keys of ``raif.yaml``, each with the section that it is from.

    cai-2022     Bai et al. 2022, Constitutional AI: Harmlessness from AI Feedback, arXiv 2212.08073
    rlaif-2023   Lee et al. 2023, RLAIF vs. RLHF, arXiv 2309.00267

What a paper does and does not give in figures is not here, and neither is what raif has no setting for. Bai et al.
also show worked examples (write some into the constitution, and set ``label.examples`` and ``revise.examples``), and
have one model revise and another judge (run ``raif revise`` and ``raif label`` with judges of their own).
"""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, tuple[tuple[str, Any, str], ...]] = {
    "cai-2022": (  # Bai et al. 2022, Constitutional AI, arXiv 2212.08073
        ("generate.temperature", 1.0, "§3.2: always sampled at temperature 1"),
        ("revise.rounds", 4, "§3.2: four critiques and revisions a prompt"),
        ("revise.draw", "independent", "§3.1, §3.4: a principle sampled at each step, independently"),
        ("revise.temperature", 1.0, "§3.2: always sampled at temperature 1"),
        ("revise.verify", False, "§3.1: no revision is checked"),
        ("train.sft.steps", "all", "§3.1: fine-tuned on the revisions of all steps"),
        ("train.sft.epochs", 1.0, "§3.2: one epoch"),
        ("train.sft.scheduler", "constant", "§3.2: a constant learning rate"),
        ("label.pairs", "responses", "§4.1: a pair of responses of the same model"),
        ("label.pairs_per_prompt", 1, "§4.2: one comparison a prompt"),
        ("label.principles", 1, "§4.1: a principle sampled for each comparison"),
        ("label.orders", "one", "§4.1: each comparison is asked about once"),
        ("label.mode", "cot", "§4.1: a chain of thought first"),
        ("label.cot_answer", "probability", "§4.1: normalised probabilities of the answers are the labels"),
        ("label.clamp", (0.4, 0.6), "§4.1, §4.3: clamped to 40–60 % after a chain of thought"),
        ("label.tie_margin", 0.0, "§4.1: every comparison gets a soft label, none is a tie"),
    ),
    "rlaif-2023": (  # Lee et al. 2023, RLAIF, arXiv 2309.00267
        ("label.pairs", "responses", "§2.1: two candidate responses"),
        ("label.orders", "both", "§2.1.1: two inferences, with the order reversed in the second"),
        ("label.conflict_margin", 0.5, "§2.1.1: their results are averaged, whatever they are"),
        ("label.tie_margin", 0.0, "§2.1: a distribution over the two, none is a tie"),
        ("label.mode", "cot", "§2.1.2: first step, reason"),
        ("label.cot_answer", "probability", "§2.1.2: second step, the probabilities with the reasoning in view"),
        ("label.clamp", (0.0, 1.0), "§2.2.1: soft labels as they are"),
        ("label.temperature", 0.0, "§4.4: reasonings sampled at T > 0 and averaged agree less with people"),
        ("label.examples", 0, "§4.4: with a chain of thought, no example is best"),
    ),
}
"""Key, value and section, by the preset's name; ``raif.settings`` lays them beneath what is set where it is named."""
