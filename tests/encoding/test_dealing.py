"""Which worker of a cluster gets which shard, and how fast nodes are said to be."""

from pipeline.encoding.dealing import Dealer
from pipeline.encoding.rates import NodeRates


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_worker_has_a_shard_and_knows_its_next_one() -> None:
    dealer = Dealer(range(5))
    assert dealer.deal("a") == (0, (1,))
    assert dealer.deal("b") == (2, (3,))
    assert dealer.finished("a") == 0
    assert dealer.deal("a") == (1, (4,))
    assert dealer.finished("b") == 2
    assert dealer.deal("b") == (3, ())
    assert dealer.left == {1, 3, 4}


def test_who_has_nothing_at_the_end_takes_what_is_reserved_for_others() -> None:
    dealer = Dealer([7, 8])
    assert dealer.deal("slow") == (7, (8,))
    assert dealer.deal("fast") == (8, ())
    dealer.finished("fast")
    assert dealer.deal("fast") is None
    dealer.finished("slow")
    assert dealer.left == set()


def test_what_a_lost_worker_had_comes_first() -> None:
    dealer = Dealer(range(6))
    dealer.deal("a")
    dealer.deal("b")
    assert dealer.lost("a") == (0, 1)
    assert dealer.deal("c") == (0, (1,))
    assert dealer.lost("c") == (0, 2), "the same shard, the second time"
    order = []
    while (dealt := dealer.deal("d")) is not None:
        order.append(dealt[0])
        dealer.finished("d")
    assert order == [0, 1, 4, 5, 3]
    dealer.finished("b")
    assert dealer.left == set()


def test_a_shard_that_another_process_writes_is_tried_again_later_and_last() -> None:
    clock = Clock()
    dealer = Dealer([1, 2], clock)
    assert dealer.deal("a") == (1, (2,))
    dealer.elsewhere("a")
    assert dealer.deal("a") == (2, ())
    dealer.finished("a")
    assert dealer.deal("a") is None
    clock.now = 5.0
    assert dealer.deal("a") == (1, ())


def test_rates_are_of_nodes() -> None:
    clock = Clock()
    rates = NodeRates(clock)
    assert rates.now([]) == "no worker yet"
    for node in ("one", "two", "one"):
        rates.began(node)
    clock.now = 2.0
    rates.finished("one", 100)
    clock.now = 4.0
    rates.finished("one", 100)
    rates.finished("two", 20)
    assert rates.now(["one", "two", "one"]) == "one: 2 x 25/s, two: 1 x 5/s"
    assert rates.now(map(str, range(6))).endswith(", 2 more nodes")
    assert rates.lines() == ["one: 2 shards, 200 rows, 50 rows/s", "two: 1 shards, 20 rows, 5 rows/s"]
