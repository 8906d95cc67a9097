"""From a recipe to a plan: the steps, what each takes, and an order in which they can run.

Pure and torch-free. Keys are not known here: a key needs the digests of its inputs, which the
runner learns one step after the other.
"""

from __future__ import annotations

from edgestill.plan import Plan
from edgestill.planner.distillation import add_trainings
from edgestill.planner.draft import PlanDraft
from edgestill.planner.models import add_check, add_data, add_student, add_teacher
from edgestill.planner.schemes import planned_teachers
from edgestill.planner.targets import add_targets
from edgestill.recipe import Recipe


def make_plan(recipe: Recipe) -> Plan:
    """The plan of a recipe."""
    draft = PlanDraft(recipe)
    add_data(draft)
    teachers = planned_teachers(recipe)
    files = [name for name, teacher in teachers.items() if teacher.onnx]
    for name in files:
        add_teacher(draft, name, teachers[name])  # the check asks it
    add_check(draft)
    for name, teacher in teachers.items():
        if name not in files:
            add_teacher(draft, name, teacher)
    add_trainings(draft)
    add_student(draft)
    return draft.finished(add_targets(draft))
