"""The pack's version, which kept segments depend on; the same as in pyproject.toml."""

VERSION = "0.1.0"
