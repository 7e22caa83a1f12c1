"""What the page leads with, and the correction of its verdicts for their number."""

from pipeline.config import ReportSettings
from pipeline.reporting.leads import Leads, leading_first
from pipeline.reporting.run_data import RunData
from tests.reporting.small import SmallProject, difference, row, with_control


def leads(project: SmallProject) -> Leads:
    settings = project.configure(with_control())
    assert isinstance(settings, ReportSettings)
    return Leads(RunData(settings))


def test_verdicts_are_corrected_for_the_number_of_headline_comparisons(project: SmallProject) -> None:
    """Of p .01, .02 and .04 all hold (.03, .04, .04); of .03, .04 and .9 none does (.09, .09, .9)."""
    against = (
        difference("plain", "blind", p=0.01),
        difference("other", "blind", p=0.04, value=-0.2),
        difference("other", "plain", p=0.02),
        difference("plain", "blind", "t2i_recall@5", p=0.001),
    )
    project.evaluated("retrieval", (row("plain"), row("blind", value=0.2), row("other")), against)
    found = leads(project)
    assert (found.comparisons, found.headline_comparisons) == (4, 3)
    nodes = found.leads[0].differences
    assert [found.verdict(node) for node in nodes] == [1, -1, 1]
    weak = tuple(
        difference("plain", "blind", p=p, dataset=name) for name, p in (("mine", 0.03), ("b", 0.04), ("c", 0.9))
    )
    rows = tuple(row("plain", dataset=name) for name in ("mine", "b", "c"))
    project.evaluated("retrieval", rows, weak)
    found = leads(project)
    assert [found.verdict(lead.differences[0]) for lead in found.leads] == [0, 0, 0]


def test_what_is_not_established_has_no_verdict_however_small_its_p(project: SmallProject) -> None:
    project.evaluated("retrieval", (row("plain"),), (difference("plain", "blind", established=False, p=1e-9),))
    found = leads(project)
    assert found.verdict(found.leads[0].differences[0]) == 0


def test_the_page_leads_with_ten_where_there_is_one_and_shows_the_median_rank_beside_it(project: SmallProject) -> None:
    metrics = ("t2i_recall@1", "t2i_recall@10", "t2i_median_rank")
    values = (0.1, 0.5, 7.0)
    rows = tuple(row("plain", name, value) for name, value in zip(metrics, values, strict=True))
    project.evaluated("retrieval", rows)
    (lead,) = leads(project).leads
    assert lead.key[1] == "t2i_recall@10"
    assert {name: rows["plain"]["value"].number() for name, rows in lead.beside.items()} == {
        "median_rank": 7.0,
        "recall@1": 0.1,
    }
    page = project.page(project.configure(with_control()))
    assert "median rank" in page


def test_tables_have_headline_metrics_first_and_the_order_of_the_rest() -> None:
    names = ("i2t_recall@1", "i2t_recall@10", "i2t_median_rank", "t2i_recall@10")
    keys = [(dataset, name, "", "en", "") for dataset in ("b", "a") for name in names]
    ordered = [(key[0], key[1]) for key in leading_first("retrieval", keys)]
    assert ordered[:4] == [
        ("b", name) for name in ("i2t_recall@10", "t2i_recall@10", "i2t_median_rank", "i2t_recall@1")
    ]
    assert [name for name, _ in ordered[4:]] == ["a"] * 4
