"""`edgestill doctor`: what is wrong with this machine, or with a recipe on it."""

from edgestill.api.doctor.diagnosis import diagnose
from edgestill.api.doctor.findings import Diagnosis, Finding, State

__all__ = ["Diagnosis", "Finding", "State", "diagnose"]
