"""benchmarks/few_pairs.py: the ceiling of its worlds by other roads, its drawing of pairs, and a run at toy size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import multivariate_normal, vonmises

from benchmarks import few_pairs
from benchmarks.few_study.fitting import Budget, Passes
from benchmarks.few_study.hits import bits, hits_of
from benchmarks.few_study.real import few
from benchmarks.few_study.synthetic import SETTINGS, Study
from benchmarks.few_study.worlds import Setting, World, bayes_scores, draw_shared, first_hits
from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.data.resident import ResidentFeatures

GAUSSIAN = Setting("gaussian", 0.8, shared=3, private=2, widths=(5, 5))


def chosen_right(setting: Setting, candidates: int, rounds: int) -> tuple[float, float]:
    """The share of queries whose partner scores highest, and the mean posterior of the candidate that does."""
    u, v = draw_shared(setting, candidates * rounds, np.random.default_rng(0))
    hits, posteriors = [], []
    for start in range(0, len(u), candidates):
        scores = bayes_scores(setting, u[start : start + candidates], v[start : start + candidates])
        hits.append(np.mean(first_hits(scores)))
        posteriors += [softmax(scores, axis=1).max(1).mean(), softmax(scores, axis=0).max(0).mean()]
    return float(np.mean(hits)), float(np.mean(posteriors))


@pytest.mark.parametrize("name", SETTINGS)
def test_the_ceiling_is_the_mean_of_the_largest_posterior(name: str) -> None:
    hits, posterior = chosen_right(SETTINGS[name], 50, 200)
    assert hits == pytest.approx(posterior, abs=0.01)  # which nothing exceeds, whatever it reads
    assert hits > 0.5


def test_the_ceiling_on_a_circle_is_what_integration_gives() -> None:
    concentration = 3.0
    angle = np.linspace(-np.pi, np.pi, 20_001)
    # right where the other candidate, anywhere on the circle, lies farther from the query than the partner
    exact = np.trapezoid(vonmises.pdf(angle, concentration) * (1 - np.abs(angle) / np.pi), angle)
    hits, _ = chosen_right(Setting("sphere", concentration, shared=2), 2, 20_000)
    assert hits == pytest.approx(float(exact), abs=0.01)


def test_the_gaussian_score_is_the_ratio_of_the_densities_of_the_features() -> None:
    world = World(GAUSSIAN, 1)
    pairs = world.draw(6, 1)
    (x, y), maps = pairs.features, [to(np.eye(5)) for to in world.maps]  # linear: rows are images of coordinates
    cross = maps[0].T @ np.diag([GAUSSIAN.strength] * 3 + [0.0] * 2) @ maps[1]
    own = [one.T @ one for one in maps]
    joint = multivariate_normal(np.zeros(10), np.block([[own[0], cross], [cross.T, own[1]]]))
    alone = [multivariate_normal(np.zeros(5), one) for one in own]
    brute = np.array([
        [joint.logpdf(np.r_[a, b]) - alone[0].logpdf(a) - alone[1].logpdf(b) for b in y] for a in x
    ])  # fmt: skip
    found = world.scores(*pairs.shared)
    np.testing.assert_allclose(brute - brute.mean(), found - found.mean(), atol=1e-4)


@pytest.mark.parametrize("law", ["gaussian", "sphere"])
def test_features_of_a_rough_map_hold_all_that_the_sides_share(law: str) -> None:
    world = World(Setting(law, 5.0 if law == "sphere" else 0.9, length=0.3, couplings=3), 0)  # type: ignore[arg-type]
    pairs = world.draw(40, 0)
    for to, features, shared in zip(world.maps, pairs.features, pairs.shared, strict=True):
        found = to.inverse(features.astype(np.float64))[:, :8]
        scale = np.sqrt(8) if law == "sphere" else 1.0
        np.testing.assert_allclose(found / scale, shared, atol=1e-4)


def test_drawn_pairs_stay_the_same_as_more_are_drawn() -> None:
    world = World(Setting("sphere", 9.0, length=1.0), 3)
    few_of, many, other = world.draw(5, 0), world.draw(17_000, 0), world.draw(5, 1)
    np.testing.assert_array_equal(few_of.features[0], many.features[0][:5])
    assert np.abs(few_of.features[1] - other.features[1]).max() > 0.1
    assert np.abs(many.features[0][:16] - many.features[0][16_384:16_400]).max() > 0.1


def test_smaller_parts_of_train_are_inside_larger_ones() -> None:
    train = torch.arange(60).reshape(30, 2)
    small, large = (few(train, size, 2) for size in (7, 20))
    assert set(small[:, 0].tolist()) < set(large[:, 0].tolist())
    assert few(train, 0, 2) is train
    assert not torch.equal(few(train, 7, 3), small)


def test_few_pairs_are_gone_through_several_times_between_validations() -> None:
    budget = Budget(rates=(1e-3,), steps=40, least=10, quiet=20, batch=4, every=10)
    assert (budget.passes(10), budget.passes(100)) == (3, 1)
    x = torch.arange(10.0)[:, None]
    features = ResidentFeatures(ImageInput(x, x[:, None][:, :0]), TextInput.from_pooled(x), torch.device("cpu"))
    pairs = torch.arange(10)[:, None].repeat(1, 2)
    batches = list(Passes(features, 3).epoch(pairs.repeat(3, 1), 4, torch.Generator().manual_seed(0), 1))
    rows = torch.cat([batch.image_ids for batch in batches]).tolist()
    assert len(batches) == 8  # of 9: what an epoch of 30 pairs has
    assert sorted(rows[:10]) == sorted(rows[10:20]) == list(range(10))
    assert rows[:10] != rows[10:20]


def test_hits_are_read_as_they_were_written() -> None:
    hits = np.random.default_rng(0).random(37) < 0.3
    np.testing.assert_array_equal(hits_of(bits(hits)), hits)


def test_a_row_is_fitted_once_and_shown_beside_the_ceiling(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = [
        "--parts",
        str(tmp_path / "parts"),
        "--out",
        str(tmp_path / "few.json"),
        "--plot",
        str(tmp_path / "p.png"),
    ]
    names = ["--only", "CCA", "CCA + kernel ridge", "linear + InfoNCE", "--settings", "linear, Gaussian"]
    few_pairs.main(["synthetic", "--quick", *names, *common])
    written = (tmp_path / "parts" / "synthetic.jsonl").read_text()
    few_pairs.main(["synthetic", "--quick", *names, *common])
    assert (tmp_path / "parts" / "synthetic.jsonl").read_text() == written
    few_pairs.main(["show", *common])
    found = json.loads((tmp_path / "few.json").read_text())
    rows = {(row["row"], row["size"]): row for row in found["synthetic"]}
    ceiling = rows["ceiling", 0]["recall@1"]
    assert rows["CCA", 100]["recall@1"] > rows["CCA", 50]["recall@1"] - 0.1
    assert rows["CCA", 100]["recall@1"] <= ceiling + 0.1
    assert rows["linear + InfoNCE", 100]["versus"] in ("CCA", "CCA + kernel ridge")
    assert rows["linear + InfoNCE", 100]["difference_ci"] is not None
    assert len(rows["linear + InfoNCE", 50]["trials"][0]) == 2
    assert (tmp_path / "p.png").stat().st_size > 1000
    assert "| CCA + kernel ridge |" in capsys.readouterr().out


def test_closed_forms_reach_the_ceiling_of_cosines_in_a_linear_world() -> None:
    study = Study(Setting("gaussian", 0.9, shared=4, private=2, widths=(8, 7)), 0, 3000, tested=200)
    found = {name: float(hits.mean()) for name, hits, _ in study.computed(3000, {"CCA", "Procrustes", "kernel CCA"})}
    cosines, ceiling = float(study.cosines().mean()), float(study.ceiling().mean())
    assert cosines - 0.05 < found["CCA"] <= ceiling + 0.03
    assert found["Procrustes"] < found["CCA"]
    assert abs(found["kernel CCA"] - found["CCA"]) < 0.15
