"""Order, colours and legend of aligners."""

from pipeline.reporting.style import AlignerStyle

STYLE = AlignerStyle(("a", "shown", "blind", "a-b"), control="blind", showcase="shown", control_model="a-blind-eye")


def test_the_control_comes_first_and_then_the_showcase() -> None:
    assert STYLE.ordered({"a-b", "a", "zz", "shown", "blind"}) == ["blind", "shown", "a", "a-b", "zz"]


def test_colours_follow_the_order_and_methods_their_aligner() -> None:
    names = ("blind", "shown", "a", "a-b", "shown-projector", "blind-projector", "zz")
    assert [STYLE.colour(name) for name in names] == ["control", "s0", "s1", "s2", "s0", "control", "s5"]


def test_the_legend_names_the_model_of_the_control() -> None:
    assert STYLE.legend(["shown", "blind"]) == [("control", "blind (control: a-blind-eye)"), ("s0", "shown")]


def test_without_control_and_showcase_the_order_is_that_of_the_parameters() -> None:
    style = AlignerStyle(("b", "a"))
    assert style.ordered(["a", "b"]) == ["b", "a"]
    assert style.legend(["a", "b"]) == [("s0", "b"), ("s1", "a")]
    assert AlignerStyle(()).colour("x") == "s5"
