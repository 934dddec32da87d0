"""From a fresh machine to an edited clip: set-up, ComfyUI, one edit, the test suite. Standard library only.

cli → environment (steps, commands) → runtime → server → client (websocket) → follow → output
                                                           workflow, models
"""
