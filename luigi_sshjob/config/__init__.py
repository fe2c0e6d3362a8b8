"""Settings from Luigi's configuration."""

from luigi_sshjob.config.schema import CLEANUP_POLICIES, EXIT_POLICIES, SETTINGS, TRANSPORTS, Setting, Settings, sshjob
from luigi_sshjob.config.settings import get_settings
from luigi_sshjob.config.sources import resources

__all__ = [
    "CLEANUP_POLICIES",
    "EXIT_POLICIES",
    "SETTINGS",
    "TRANSPORTS",
    "Setting",
    "Settings",
    "get_settings",
    "resources",
    "sshjob",
]
