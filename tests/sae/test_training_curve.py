"""The curve file: what is written is read, and a line that is being written does no harm."""

from sae.training_curve import CURVE, SAE_FIGURES, add_point, figures_words, read_curve, write_curve

POINTS = [{"step": float(n), "loss": 1 / (n + 1), "fvu": 0.5, "l0": 4.0, "dead_share": 0.125} for n in range(3)]


def test_points_are_read_in_the_order_of_writing(tmp_path):
    assert read_curve(tmp_path) == []
    write_curve(tmp_path, POINTS[:2])
    add_point(tmp_path, POINTS[2])
    assert read_curve(tmp_path) == POINTS


def test_a_torn_or_foreign_line_is_left_out(tmp_path):
    write_curve(tmp_path, POINTS)
    with (tmp_path / CURVE).open("a") as file:
        file.write('[3]\n{"step": 1}\n{"step": 3.0, "lo')
    assert read_curve(tmp_path, SAE_FIGURES) == POINTS


def test_a_step_is_said_with_its_four_figures():
    assert figures_words(POINTS[1], SAE_FIGURES) == "FVU 0.500, L0 4.0, dead 12.5%, loss 0.500"


def test_a_point_without_the_figures_that_are_asked_for_is_left_out(tmp_path):
    write_curve(tmp_path, [{"step": 1.0, "loss": 2.0}, *POINTS])
    assert (len(read_curve(tmp_path)), read_curve(tmp_path, SAE_FIGURES)) == (4, POINTS)
    assert figures_words({"step": 1.0, "loss": 2.0}, SAE_FIGURES) == "loss 2.000"
