"""What does a step get to read? Its script with references in place of placeholders, and the environment they refer to."""

from collections.abc import Mapping
from dataclasses import dataclass

from domain.job.definition import JobDefinition, Step, environment_names, text_of
from domain.job.parameters import Plain, as_text
from domain.job.quoting import Shell, reference
from domain.job.template import names_in, referring, variable_of
from domain.run.messages import PlannedTarget


class LabelMissing(Exception):
    """The script asks for a label that the target does not have."""


@dataclass(frozen=True, slots=True, repr=False)
class Rendered:
    """What goes to the target. Has no repr: values may be secret."""

    shell: Shell
    script: str
    environment: Mapping[str, str]


def rendered(job: JobDefinition, step: Step, run: str, target: PlannedTarget, values: Mapping[str, Plain]) -> Rendered:
    """The step as `target` gets it; `values` are the run's parameters with secrets in clear. Raises `LabelMissing`."""
    shell, text, _ = text_of(step)
    names = environment_names(job.parameters)
    environment = {names[name]: as_text(value) for name, value in values.items() if name in names}
    environment |= {"OPS_TARGET_NAME": target.name, "OPS_TARGET_HOST": target.host, "OPS_RUN_ID": run}
    for placeholder in names_in(text):
        kind, _, key = placeholder.name.partition(".")
        variable = variable_of(placeholder.name)
        if kind == "labels":
            if key not in target.labels:
                raise LabelMissing(f"target {target.name} has no label {key}")
            environment[variable] = target.labels[key]
        else:
            environment.setdefault(variable, "")  # a parameter without a value
    return Rendered(shell, referring(text, lambda name: reference(shell, variable_of(name))), environment)
