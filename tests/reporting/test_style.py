"""Order, colours and legend of aligners."""

from pipeline.reporting.style import AlignerStyle

STYLE = AlignerStyle(
    ("a", "shown", "blind", "a-b", "dark"),
    controls={"shown": "blind", "a-b": "blind", "a": "dark"},
    showcase="shown",
    control_models={"blind": "a-blind-eye", "dark": "a-dark-eye"},
)


def test_controls_come_first_and_then_the_showcase() -> None:
    assert STYLE.ordered({"a-b", "a", "zz", "shown", "blind", "dark"}) == ["blind", "dark", "shown", "a", "a-b", "zz"]


def test_methods_come_behind_the_aligners_and_in_their_order() -> None:
    names = {"shown-mask-supervised", "a", "blind-mask-supervised", "shown", "blind"}
    assert STYLE.ordered(names) == ["blind", "shown", "a", "blind-mask-supervised", "shown-mask-supervised"]


def test_colours_follow_the_order_and_methods_their_aligner() -> None:
    names = ("blind", "dark", "shown", "a", "a-b", "shown-mask-supervised", "blind-mask-supervised", "zz")
    assert [STYLE.colour(name) for name in names] == ["control", "control", "s0", "s1", "s2", "s0", "control", "s5"]


def test_each_row_has_the_control_of_its_aligner_by_the_same_method() -> None:
    rows = ("shown", "a", "shown-mask-supervised", "blind", "zz")
    expected = ["blind", "dark", "blind-mask-supervised", None, None]
    assert [STYLE.control_of(name) for name in rows] == expected


def test_the_legend_names_the_model_of_a_control() -> None:
    legend = [("control", "blind (control: a-blind-eye)"), ("control", "dark (control: a-dark-eye)"), ("s0", "shown")]
    assert STYLE.legend(["shown", "dark", "blind"]) == legend
    named = AlignerStyle(("a", "control-a"), {"a": "control-a"}, "a", {"control-a": "an-eye"})
    assert named.legend(["a", "control-a"]) == [("control", "control-a (an-eye)"), ("s0", "a")]


def test_without_control_and_showcase_the_order_is_that_of_the_parameters() -> None:
    style = AlignerStyle(("b", "a"))
    assert style.ordered(["a", "b"]) == ["b", "a"]
    assert style.legend(["a", "b"]) == [("s0", "b"), ("s1", "a")]
    assert AlignerStyle(()).colour("x") == "s5"
