"""Test harness: real ComfyUI in-process, a real server, a real browser, and the golden tensors.

Import rules (who is who when a test says `import sama_core`)
    * pytest runs with `--import-mode=importlib`; the repository root is never on `sys.path`,
      because our top-level `nodes/` would shadow ComfyUI's own `nodes` module.
      `imports.install()` removes it if `python -m pytest` put it there.
    * `sama_core` is found by a meta-path finder, with or without ComfyUI. Tests write
      `from sama_core.geometry import ...`.
    * ComfyUI loads the pack as a module named after its path and reaches our library as
      `<pack>.sama_core`. A second finder answers those names with the modules of `sama_core`
      themselves, whichever was imported first. So there is one copy of every class, and
      `isinstance` and monkeypatching work across.
    * Price: an absolute `import sama_core` inside the pack would work here and fail for users.
      `imports.absolute_self_imports()` finds those, and loading the pack refuses them.
    * Node modules are reached through the `pack` fixture: `pack.module("nodes.load")`.
"""
