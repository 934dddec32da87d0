"""What SAMA-Shapes can do, measured."""
