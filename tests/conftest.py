"""What all tests share."""

from hypothesis import settings

settings.register_profile("augserve", deadline=None, print_blob=True)  # loaded machines are slow; timing is for benches
settings.load_profile("augserve")
