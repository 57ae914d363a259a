from __future__ import annotations

from hypothesis import settings

# A busy machine is no failure: time is judged by the tests that measure it.
settings.register_profile("calm", deadline=None)
settings.load_profile("calm")
