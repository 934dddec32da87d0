"""Machines that several tests plan for."""

from sama_core.plan.machine import GIB, NVIDIA, Machine

ESTIMATED = Machine(
    NVIDIA, "a card", 24 * GIB, 24 * GIB, 64 * GIB, 64 * GIB, reserved=0, dynamic=False, streams=2
)
"""A card whose weights ComfyUI places by its estimate."""
