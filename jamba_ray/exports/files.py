"""Reads files that a stranger may have made, up to a size."""

from __future__ import annotations

from pathlib import Path

from jamba_ray.errors import ConfigError


def read_file(path: str, most: int, setting: str) -> bytes:
    """Returns the bytes of a file; ``setting`` names it in errors.

    Raises:
        ConfigError: It cannot be read, or is larger than ``most`` bytes.
    """
    try:
        if (size := Path(path).stat().st_size) > most:
            raise ConfigError(
                [
                    f"`{setting}` must be a file of at most {most:,} bytes, but {path!r} has "
                    f"{size:,}. Give another file."
                ]
            )
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            [
                f"`{setting}` must be a file that can be read, but {path!r} is not "
                f"({(error.strerror or str(error)).lower()}). Give another file."
            ]
        ) from error
