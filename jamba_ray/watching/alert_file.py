"""Reads the file of alert rules."""

from __future__ import annotations

from pathlib import Path

from jamba_ray.config.alert_rules import RulesSection
from jamba_ray.config.mistakes import validate
from jamba_ray.config.yaml_text import YamlTextError, read_yaml
from jamba_ray.errors import ConfigError


def read_rules(path: str) -> RulesSection:
    """Reads and checks the rules.

    Raises:
        ConfigError: The file cannot be read, is no YAML, or a setting in it is wrong.
    """
    try:
        tree = read_yaml(Path(path))
    except (OSError, YamlTextError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            [f"`rules` must be a YAML file of alert rules, but {path} is not ({why})."]
        ) from None
    if not isinstance(tree, dict):
        raise ConfigError([f"`rules`: {path} must hold `channels` and `rules`, but holds neither."])
    return validate(RulesSection, {str(key): value for key, value in tree.items()})
