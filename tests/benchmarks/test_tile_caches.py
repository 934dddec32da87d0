"""The count of what decoding in steps holds on a card."""

from benchmarks.tile_caches import count


def test_tiles_hold_less_than_the_whole_where_the_card_has_no_room(comfyui):
    """Four tiles that overlap by half, of 48 by 78 cells; with room they hold four caches."""
    whole = count(624, 384, False, 0)
    held = count(624, 384, True, float("inf"))
    rest = count(624, 384, True, 0)
    assert held["held"] > 1.6 * whole["held"] and held["rest"] == 0 == held["moved"]
    assert rest["held"] < 0.01 and rest["peak"] < 0.5 * whole["peak"] < held["peak"]
    assert abs(rest["rest"] - held["held"]) < 0.01 and abs(rest["moved"] - rest["rest"] / 8) < 1e-6
