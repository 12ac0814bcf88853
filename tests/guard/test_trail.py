from guard.trail import REMEMBERED, Trail


def test_a_reader_is_as_far_behind_as_the_record_it_reads_next_is_old():
    trail = Trail()
    assert trail.behind_s(0, 10, 10) == 0
    assert trail.behind_s(5, 10, 12) == 0
    assert trail.behind_s(10, 10, 14) == 5
    assert trail.behind_s(15, 12, 14) == 5
    assert trail.behind_s(20, 14, 14) == 0


def test_what_came_before_the_first_look_counts_from_there():
    trail = Trail()
    assert trail.behind_s(100, 0, 1000) == 0
    assert trail.behind_s(160, 500, 1000) == 60


def test_a_topic_made_anew_begins_anew():
    trail = Trail()
    trail.behind_s(0, 0, 1000)
    assert trail.behind_s(50, 0, 10) == 0
    assert trail.behind_s(60, 0, 10) == 10


def test_it_remembers_an_hour_at_most():
    trail = Trail()
    for look in range(2000):
        behind = trail.behind_s(look * 5, 0, look + 1)
    assert behind == (REMEMBERED - 1) * 5
