"""What happens before a plan: where the configuration is read, and what of Snakemake's own ways cannot be followed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from sdseg.core.errors import UserError
from sdseg.core.shipped_files import shipped
from sdseg.core.yaml_json import read_yaml

__all__ = ["checked_config", "default_config", "refuse_other_folders"]

DEFAULT = "config/config.yaml"
NULLS = ("null", "Null", "NULL", "~")  # words of YAML; on Snakemake's command line every value in braces is a text


def default_config() -> str:
    """The configuration where none is named: the working directory's, or the one that ships with the workflow."""
    path = shipped(DEFAULT)
    if path.is_absolute():
        logger.info(f"no {DEFAULT} in the working directory: {path} is taken")
    _read_strictly(path)
    return str(path)


def checked_config(config: Mapping[str, Any], files: list[Any], command_line: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as the user means it.

    Snakemake has read the files already: of a key that is given twice it kept the last, and of
    `--config 'datasets={kseg: {limit: null}}'` it made the text 'null'. The files are read again, strictly; words for
    nothing on the command line become nothing. Raises WorkflowError.
    """
    for file in files:
        _read_strictly(Path(file))
    cleared: dict[str, Any] = _without_null_words(config, command_line)
    return cleared


def refuse_other_folders(workflow: Any) -> None:
    """Refuse what makes Snakemake move the files it knows of, and not those that the stages read and write.

    Folders are passed to the stages as they stand in the configuration. Raises WorkflowError.
    """
    if workflow.storage_settings is not None and workflow.storage_settings.default_storage_provider:
        raise WorkflowError(
            "--default-storage-provider cannot be used: the stages read and write whole folders, of which it would "
            "copy single files\n"
            "  remedy: leave it out; let 'raw' and 'results' of the configuration name folders on a disk that every "
            "job sees"
        )
    modifier = workflow.modifier.path_modifier
    while modifier is not None:
        if modifier.prefix is not None or modifier.modifies_prefixes:
            raise WorkflowError(
                "a module's 'prefix' and 'replace_prefix' cannot be used here: the stages would read and write other "
                "folders than Snakemake expects\n"
                "  remedy: leave it out, and set 'results' and 'raw' in the 'config' of the module"
            )
        modifier = modifier.inner_modifier


def _read_strictly(path: Path) -> None:
    try:
        read_yaml(path)
    except UserError as error:
        raise WorkflowError(str(error)) from None


def _without_null_words(value: Any, given: Any) -> Any:
    """`value` with None for words that stand for nothing in `given`, which was laid over it."""
    if isinstance(value, Mapping) and isinstance(given, Mapping):
        return {key: _without_null_words(each, given[key]) if key in given else each for key, each in value.items()}
    if isinstance(value, list) and value == given:
        return [_without_null_words(each, each) for each in value]
    return None if value == given and value in NULLS else value
