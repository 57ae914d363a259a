from jamba_ray.study.candidates import candidates


def test_the_best_and_the_best_two_of_each_family():
    ranking = [(n, "mlp") for n in range(6)] + [(n, "lightgbm") for n in range(6, 9)]
    assert candidates(ranking, 3) == [0, 1, 2, 6, 7]
    assert candidates(ranking, 99) == list(range(9))
    assert candidates([], 3) == []


def test_what_is_no_candidate_never_becomes_one_when_trials_are_added():
    # So a checkpoint that was deleted is never missed.
    ranking = [(n, "ab"[n % 3 == 0]) for n in range(12)]
    for place in range(12):
        without = ranking[:place] + ranking[place + 1 :]
        assert set(candidates(ranking, 4)) - {ranking[place][0]} <= set(candidates(without, 4))
