"""What an experiment will take: the line through two points."""

from tasks.probe.cost import Cost, Load, extrapolate


def test_what_is_predicted_lies_on_the_line_through_both_points():
    first = Load(100, 100, 1), Cost(3, 1000, 500, 50)
    second = Load(300, 300, 1), Cost(5, 1200, 900, 50)
    cost = extrapolate(first, second, Load(work=10_000, images=1000, snapshots=4), 10)
    assert cost == Cost(5 + 9700 / 100, 1200 + 10 * 700, 900 + 2 * 700 + 3 * 50)


def test_more_work_is_never_predicted_to_take_less():
    first, second = (Load(100, 100), Cost(5, 9, 9)), (Load(300, 300), Cost(4, 8, 8))
    assert extrapolate(first, second, Load(1000, 1000), 0) == Cost(4, 9, 8)


def test_where_nothing_grows_the_greater_is_told():
    same = Load(7, 7)
    assert extrapolate((same, Cost(5, 9, 9)), (same, Cost(6, 8, 9)), same, 5) == Cost(6, 9, 9)


def test_the_memory_of_a_gpu_grows_by_the_images_where_one_was_used():
    first, second = (
        (Load(100, 100), Cost(3, 9, 9, gpu=800)),
        (Load(300, 300), Cost(5, 9, 9, gpu=900)),
    )
    assert extrapolate(first, second, Load(1000, 1000), 10).gpu == 900 + 10 * 700
    assert (
        extrapolate((first[0], Cost(3, 9, 9)), (second[0], Cost(5, 9, 9)), Load(9, 9), 10).gpu == 0
    )
