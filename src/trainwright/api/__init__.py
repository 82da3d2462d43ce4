"""The library in one place: what the command line calls, and what Python users import.

One file for what belongs together; heavy rooms are imported inside the functions, so that this import stays light.
"""

from trainwright.api.capturing import CaptureOptions, capture
from trainwright.api.catalogue import compare_machines, hardware, models
from trainwright.api.comparing import compare
from trainwright.api.competing import CompeteOptions, compete
from trainwright.api.deploying import DeployOptions, deploy
from trainwright.api.estimating import EstimateOptions, cite, estimate, validate
from trainwright.api.kinds import compare_kinds
from trainwright.api.planning import PlanOptions, plan, plan_file, write_answer
from trainwright.api.previewing import preview
from trainwright.api.training import PrepareOptions, expected_steps, machine, plan_here, prepare, report, run, verify
from trainwright.api.trying import rates

__all__ = [
    "CaptureOptions",
    "CompeteOptions",
    "DeployOptions",
    "EstimateOptions",
    "PlanOptions",
    "PrepareOptions",
    "capture",
    "cite",
    "compare",
    "compare_kinds",
    "compare_machines",
    "compete",
    "deploy",
    "estimate",
    "expected_steps",
    "hardware",
    "machine",
    "models",
    "plan",
    "plan_file",
    "plan_here",
    "prepare",
    "preview",
    "rates",
    "report",
    "run",
    "validate",
    "verify",
    "write_answer",
]
