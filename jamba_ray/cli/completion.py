"""Completes commands, settings and their values in a shell (``jamba-ray completion bash``).

The script of a shell asks this module at each TAB, so that files of sweeps and options that are
made later are known. ``jamba-ray completion <shell> <line>`` prints the words that may follow, one
per line.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jamba_ray.cli.commands import COMMANDS
from jamba_ray.cli.entry import INSECURE, ClusterCommand, Command
from jamba_ray.cli.help import groups_of, settings, topics
from jamba_ray.cli.options import groups, load_families
from jamba_ray.config.family import FAMILIES
from jamba_ray.config.names import nearest
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.section import Section
from jamba_ray.config.settings import choices_of
from jamba_ray.config.sweep_space import paths_of
from jamba_ray.errors import ExitCode

_BASH = """\
_jamba_ray() {
    local found
    mapfile -t COMPREPLY < <("$1" completion bash "${COMP_LINE:0:COMP_POINT}" \\
        "$COMP_WORDBREAKS" 2>/dev/null)
    for found in "${COMPREPLY[@]}"; do
        [[ $found == *[=./] ]] && compopt -o nospace
    done
}
complete -o bashdefault -o default -F _jamba_ray jamba-ray
"""
_ZSH = """\
#compdef jamba-ray
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
_jamba_ray() {
    local -a found open
    found=("${(@f)$($words[1] completion zsh \\
        "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)}")
    open=(${(M)found:#*[=./]})
    found=(${found:#(|*[=./])})
    (( $#open )) && compadd -Q -S '' -- $open
    (( $#found )) && compadd -Q -- $found
    (( $#open + $#found )) || { compset -P '*='; _files }
}
compdef _jamba_ray jamba-ray
"""
_FISH = """\
function __jamba_ray_found
    jamba-ray completion fish (commandline -cp | string collect) 2>/dev/null
end
complete -c jamba-ray -a '(__jamba_ray_found)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_HOW = """\
jamba-ray completion <shell>: prints the script that completes commands, settings and values.

  bash   add to ~/.bashrc:   eval "$(jamba-ray completion bash)"
  zsh    add to ~/.zshrc:    eval "$(jamba-ray completion zsh)"
  fish   jamba-ray completion fish > ~/.config/fish/completions/jamba-ray.fish"""
_FLAGS = ("--help", "--cfg", "--config-dir=", "--package")
_OTHERS = ("chaos", "completion", "help", "--help", "--version")


def main(argv: Sequence[str]) -> int:
    """Prints a shell's script, or the words that complete a line; returns the exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_HOW)
        return ExitCode.OK
    shell, *line = argv
    if shell not in SCRIPTS:
        hint = nearest(shell, SCRIPTS) or f". Choose one of {', '.join(SCRIPTS)}."
        print(f"error: `{shell}` is no shell that is known here{hint}", file=sys.stderr)
        return ExitCode.CONFIG
    if not line:
        print(SCRIPTS[shell], end="")
        return ExitCode.OK
    words, current = split(line[0])
    # bash replaces only what follows the last of these characters in the word.
    breaks = line[1] if len(line) > 1 else ""
    kept = max((current.rfind(char) + 1 for char in breaks), default=0)
    for found in candidates(words[1:], current):
        print(found[kept:])
    return ExitCode.OK


def split(line: str) -> tuple[list[str], str]:
    """Returns (the words before the cursor, the unfinished word) of a line whose last quote may be
    open."""
    for close in ("", "'", '"'):
        try:
            # A marker character, because a space at the end begins a new word.
            *words, last = shlex.split(f"{line}\0{close}")
        except ValueError:
            continue
        return words, last.removesuffix("\0")
    return [], ""


def candidates(words: Sequence[str], current: str) -> list[str]:
    """Returns the words that may replace ``current`` after ``words`` (without the program)."""
    if not words or words == ["help"]:
        return _begin([*COMMANDS, *_OTHERS], current)
    name = words[1] if words[0] == "help" and len(words) > 1 else words[0]
    if name == "completion":
        return _begin(SCRIPTS, current)
    command = COMMANDS.get(name)
    if command is None:
        return []
    if words[-1] in ("--help", "-h") or words[0] == "help":
        return _begin(topics(command), current)
    if words[-1] == "--cfg":
        return _begin(["job"], current)
    if current.startswith("-"):
        more = (INSECURE,) if isinstance(command, ClusterCommand) else command.short
        return _begin([*_FLAGS, *more], current)
    load_families()
    key, equals, _ = current.partition("=")
    if equals:
        return _begin([f"{key}={value}" for value in _values(command, key)], current)
    return _up_to_dot(_names(command), current)


def _names(command: Command[Any]) -> list[str]:
    """Returns the settings of a command, each with the character that follows its name."""
    names = []
    for section, prefix in _sections(command):
        paths = [path for path, _, _ in settings(section, prefix)]
        names += [f"{path}=" for path in paths if path and "=" not in path]
        names += [f"{group}=" for group in groups_of(section)]
        if "search_space" in section.model_fields:
            spaces = {path for family in FAMILIES for path in paths_of(family)}
            names += [f"search_space.{path}=" for path in sorted(spaces)]
    return [name for name in names if name != "search_space="]


def _values(command: Command[Any], key: str) -> list[str]:
    name = key.lstrip("+~")
    found: list[str] = []
    for section, prefix in _sections(command):
        if {key, name} & set(groups_of(section)):
            return groups()[name]
        found += choices_of(section, name.removeprefix(prefix))
    if name == "run" and "store" in command.section.model_fields:
        found += sorted(path.name for path in Path("runs").glob("*") if path.is_dir())
    return found


def _sections(command: Command[Any]) -> list[tuple[type[Section], str]]:
    if isinstance(command, ClusterCommand):
        return [(command.section, f"{command.name}."), (SweepConfig, "")]
    return [(command.section, "")]


def _begin(words: Iterable[str], current: str) -> list[str]:
    return [word for word in dict.fromkeys(words) if word.startswith(current)]


def _up_to_dot(names: Iterable[str], current: str) -> list[str]:
    """Returns the names that begin with ``current``, up to the next dot, as a shell shows
    folders."""
    found: dict[str, None] = {}
    for name in names:
        if name.startswith(current):
            section, dot, _ = name[len(current) :].partition(".")
            found[f"{current}{section}{dot}"] = None
    return list(found)
