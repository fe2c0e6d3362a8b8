"""Settings from Luigi's configuration."""

from luigi_sshjob.config.schema import CLEANUP_POLICIES, EXIT_POLICIES, SETTINGS, TRANSPORTS, Settings, sshjob
from luigi_sshjob.config.setting import Setting
from luigi_sshjob.config.settings import get_settings, misspelt_section
from luigi_sshjob.config.sources import resources

__all__ = [
    "CLEANUP_POLICIES",
    "EXIT_POLICIES",
    "SETTINGS",
    "TRANSPORTS",
    "Setting",
    "Settings",
    "get_settings",
    "misspelt_section",
    "resources",
    "sshjob",
]
