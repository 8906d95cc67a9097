"""From a recipe to a plan: the steps, what each takes, and an order in which they can run.

Pure and torch-free. Keys are not known here: a key needs the digests of its inputs, which the
runner learns one step after the other.
"""

from __future__ import annotations

from edgestill.plan import Plan
from edgestill.planner.distillation import add_trainings
from edgestill.planner.draft import STUDENT, TEACHER, PlanDraft
from edgestill.planner.models import add_check, add_data, add_model
from edgestill.planner.targets import add_targets
from edgestill.recipe import Recipe


def make_plan(recipe: Recipe) -> Plan:
    """The plan of a recipe."""
    draft = PlanDraft(recipe)
    add_data(draft)
    if draft.black_box:
        add_model(draft, TEACHER)  # the check asks it
    add_check(draft)
    if recipe.teacher is not None and not draft.black_box:
        add_model(draft, TEACHER)
    add_trainings(draft)
    add_model(draft, STUDENT)
    return draft.finished(add_targets(draft))
