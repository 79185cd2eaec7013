"""The study's claims, judged by its numbers and by ours."""

from diffusevae.report.claims import CLAIMS, judge_ours, judge_printed

UP, DOWN, AROUND = (0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1)


def paired(*bounds: tuple[float, float]) -> dict:
    """Return the paired differences to the VAE and, if they are given, to the control."""
    entries = [{"value": (low + high) / 2, "low": low, "high": high} for low, high in bounds]
    return {
        key: {claim.metric: entry for claim in CLAIMS}
        for key, entry in zip(("difference", "control"), entries, strict=False)
    }


def test_claims_are_judged_by_the_side_on_which_the_interval_lies():
    favoured = {claim.metric: claim.favours for claim in CLAIMS}
    assert favoured["mse"] == "vae" and favoured["ssim"] == "diffusevae"
    by_metric = {claim.metric: claim for claim in CLAIMS}
    above, below, around = (paired(each, each) for each in (UP, DOWN, AROUND))
    assert judge_ours(by_metric["mse"], above) == "holds"  # DiffuseVAE's error is the larger
    assert judge_ours(by_metric["mse"], below) == "does not hold"
    assert judge_ours(by_metric["ssim"], above) == "holds"
    assert judge_ours(by_metric["edge_sim"], above) == "does not hold"
    assert {judge_ours(claim, around) for claim in CLAIMS} == {"not proven"}


def test_a_claim_holds_only_against_the_best_control():
    by_metric = {claim.metric: claim for claim in CLAIMS}
    ssim, mse = by_metric["ssim"], by_metric["mse"]
    assert judge_ours(ssim, paired(UP, UP)) == "holds"
    assert judge_ours(ssim, paired(UP, AROUND)) == "not proven"
    assert judge_ours(ssim, paired(UP, DOWN)) == "does not hold"  # two numbers do more
    assert judge_ours(ssim, paired(UP)) == "not proven"  # nobody measured the control
    assert judge_ours(mse, paired(UP)) == "holds"
    assert judge_ours(mse, paired(AROUND, UP)) == "holds"  # the VAE, its grey values mended
    assert judge_ours(mse, paired(DOWN, DOWN)) == "does not hold"


def test_the_studys_own_numbers_contradict_what_it_says_of_edges_and_grey_values():
    """docs/study.md, section 10: 2.323 < 2.644 and 1.80 < 1.95; 0.036 < 0.377; LPIPS by set."""
    verdicts = {
        claim.metric: [judge_printed(claim, dataset) for dataset in ("mnist", "fashion_mnist")]
        for claim in CLAIMS
    }
    assert verdicts == {
        "mse": ["holds", "holds"],
        "psnr": ["holds", "holds"],
        "ssim": ["holds", "holds"],
        "edge_sim": ["does not hold"] * 2,
        "lpips": ["holds", "does not hold"],
        "hist_sim": ["does not hold"] * 2,
    }
