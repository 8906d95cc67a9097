"""Every static problem of a recipe, by its exact words, and all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from edgestill.errors import RecipeError, UsageError
from edgestill.recipe import load_recipe
from edgestill.targets import TARGETS

# Line 1 to 8; a case changes one part of it, or adds line 9.
RECIPE = """\
name: demo
data: {source: model.py:load}
teacher: {model: model.py:teacher, train: {}}
student: {model: model.py:student}
distill: {}
quantize: {}
targets: [onnxruntime]
gates: {size: {at_most: 1 MB}}
"""
MODEL = (
    "def load(): ...\ndef teacher(): ...\nclass Nets:\n  def inner(self): ...\nstudent = teacher\n"
)

TOP = (
    "Allowed keys: name, seed, threads, task, metric, data, teacher, teachers, assistants, "
    "student, distill, export, quantize, targets, measure, gates."
)
STUDENT_KEYS = (
    "Allowed keys: model, arguments, onnx, weights, files, normalize, output, classes, from, "
    "depth, width, train, pretrained."
)
TEACHER_KEYS = (
    "Allowed keys: model, arguments, onnx, function, weights, files, normalize, output, classes, "
    "train, pretrained."
)
WIDE = "wide: {model: model.py:teacher, train: {}}"
LOSSES = (
    "ce, kd, dkd, dist, mse, hint, hidden, attention, similarity, relation, minilm, adversarial, "
    "heads"
)
GATES = "accuracy, agreement, latency, throughput, speedup, size, memory"
KNOWN_TARGETS = f"Known targets: {', '.join(TARGETS)}."


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "weights.safetensors").touch()
    (tmp_path / "student.onnx").touch()
    return tmp_path


def problems(folder: Path, text: str, overrides: Sequence[str] = ()) -> list[str]:
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as raised:
        load_recipe("recipe.yaml", overrides)
    assert str(raised.value) == "\n".join(map(str, raised.value.problems))
    return [str(problem) for problem in raised.value.problems]


def changed(old: str, new: str) -> str:
    assert old in RECIPE
    return RECIPE.replace(old, new)


def budgeted(text: str) -> str:
    """With what int8 may cost on the scale of a metric that is no proportion."""
    return text.replace("quantize: {}", "quantize: {budget: {accuracy_drop: 0.1}}")


def several(teachers: str) -> str:
    """With further teachers on line 6, which moves what follows."""
    return changed("distill: {}\n", f"distill: {{}}\nteachers: {{{teachers}}}\n")


def weighed(weights: str) -> str:
    """With one further teacher, and these weights on line 5."""
    return several(WIDE).replace("distill: {}", f"distill: {{teachers: {weights}}}")


def taught_by(teacher: str) -> str:
    return changed("{model: model.py:teacher, train: {}}", teacher)


def test_the_recipe_that_the_cases_change_is_right(folder: Path) -> None:
    (folder / "recipe.yaml").write_text(RECIPE)
    assert load_recipe("recipe.yaml").name == "demo"


CASES = {
    # A student from its teacher
    "from another model": (
        changed("{model: model.py:student}", "{from: student}"),
        "4: student.from: found 'student'. Expected teacher.",
    ),
    "nothing to share": (
        changed("{model: model.py:student}", "{from: teacher, depth: 0}"),
        "4: student.depth: found 0. Expected a number above 0 and of at most 1.",
    ),
    "more than the teacher": (
        changed("{model: model.py:student}", "{from: teacher, width: 2}"),
        "4: student.width: found 2. Expected a number above 0 and of at most 1.",
    ),
    "a share without from": (
        changed("{model: model.py:student}", "{model: model.py:student, width: 0.5}"),
        "4: student.width: width is for a student that is made from its teacher. Add from: "
        "teacher, or leave width out.",
    ),
    "a model of its own beside from": (
        changed("{model: model.py:student}", "{from: teacher, model: model.py:student}"),
        "4: student.model: model beside from: teacher, which brings the teacher's. Keep one of "
        "them.",
    ),
    "weights of its own beside from": (
        changed("{model: model.py:student}", "{from: teacher, weights: weights.safetensors}"),
        "4: student.weights: weights beside from: teacher, which brings the teacher's. Keep one of "
        "them.",
    ),
    "from an ONNX file": (
        changed("{model: model.py:student}", "{from: teacher, train: {}}")
        .replace("{model: model.py:teacher, train: {}}", "{onnx: student.onnx}")
        .replace("distill: {}", ""),
        "4: student.from: the teacher is an ONNX file, which has no layers to take. Give the "
        "teacher as model: and weights:.",
    ),
    "from no teacher": (
        changed("{model: model.py:student}", "{from: teacher, train: {}}")
        .replace("teacher: {model: model.py:teacher, train: {}}", "")
        .replace("distill: {}", ""),
        "4: student.from: there is no teacher to make it from. Add teacher:.",
    ),
    "from nothing that trains it": (
        changed("{model: model.py:student}", "{from: teacher, depth: 0.5}").replace(
            "distill: {}", ""
        ),
        "4: student: nothing gives it trained weights. Add distill: or train: {}.",
    ),
    "a teacher from a teacher": (
        changed("{model: model.py:teacher, train: {}}", "{from: teacher, train: {}}"),
        "3: teacher.from: only a student is made from a teacher. Give it a model:.",
    ),
    # Assistants
    "an assistant that is no list": (
        RECIPE + "assistants: {model: model.py:student}\n",
        "9: assistants: found a mapping where a list is expected. Write [{model: "
        "file.py:callable}].",
    ),
    "no assistants": (
        RECIPE + "assistants: []\n",
        "9: assistants: an empty list. Leave it out: the student then learns from the teacher "
        "itself.",
    ),
    "an assistant by its name alone": (
        RECIPE + "assistants: [model.py:student]\n",
        "9: assistants[0]: found 'model.py:student' where a mapping is expected. Allowed keys: "
        "model, arguments, files, normalize, output, classes, from, depth, width, distill.",
    ),
    "an assistant without a model": (
        RECIPE + "assistants: [{model: model.py:student}, {}]\n",
        "9: assistants[1]: neither model nor from. Write model: file.py:callable or from: teacher.",
    ),
    "an assistant that trains alone": (
        RECIPE + "assistants: [{model: model.py:student, train: {}}]\n",
        "9: assistants[0].train: unknown key. Allowed keys: model, arguments, files, normalize, "
        "output, classes, from, depth, width, distill.",
    ),
    "an assistant that came trained": (
        RECIPE + "assistants: [{model: model.py:student, weights: weights.safetensors}]\n",
        "9: assistants[0].weights: an assistant is distilled here, and weights is for models that "
        "came trained. Give it a model: or from: teacher.",
    ),
    "an assistant that is an ONNX file": (
        RECIPE + "assistants: [{onnx: student.onnx}]\n",
        "9: assistants[0].onnx: an assistant is distilled here, and onnx is for models that came "
        "trained. Give it a model: or from: teacher.",
    ),
    "an assistant from an ONNX file": (
        changed("{model: model.py:teacher, train: {}}", "{onnx: student.onnx}")
        + "assistants: [{from: teacher}]\n",
        "9: assistants[0].from: the teacher is an ONNX file, which has no layers to take. Give the "
        "teacher as model: and weights:.",
    ),
    "an assistant with a share of its own model": (
        RECIPE + "assistants: [{model: model.py:student, depth: 0.5}]\n",
        "9: assistants[0].depth: depth is for a student that is made from its teacher. Add from: "
        "teacher, or leave depth out.",
    ),
    "an assistant that is not there": (
        RECIPE + "assistants: [{from: teacher}, {model: model.py:studnt}]\n",
        "9: assistants[1].model: there is no 'studnt' in model.py. Did you mean 'student'?",
    ),
    "files of an assistant": (
        RECIPE + "assistants: [{model: model.py:student, files: [gone.bin]}]\n",
        "9: assistants[0].files[0]: there is no file gone.bin. Paths start from {folder}, which "
        "has model.py, recipe.yaml, student.onnx, weights.safetensors.",
    ),
    "assistants of a student that learns alone": (
        changed("distill: {}", "assistants: [{from: teacher}]").replace(
            "student}", "student, train: {}}"
        ),
        "5: assistants: the student does not learn from them. Add distill:, or leave assistants "
        "out.",
    ),
    "an unknown loss of an assistant": (
        RECIPE + "assistants: [{from: teacher, distill: {losses: [kdd]}}]\n",
        "9: assistants[0].distill.losses[0]: 'kdd' is not a known loss. Did you mean kd? "
        f"Known losses: {LOSSES}.",
    ),
    "an assistant of which nothing is learnt": (
        RECIPE + "assistants: [{from: teacher, distill: {losses: [{kd: {weight: 0}}]}}]\n",
        "9: assistants[0].distill.losses: every weight is 0, so nothing is learnt. Raise one of "
        "them.",
    ),
    "views of an assistant that are all the same": (
        RECIPE + "assistants: [{from: teacher, distill: {cache: {views: 2}}}]\n",
        "9: assistants[0].distill.cache.views: 2 views of each sample, and without augment they "
        "are all the same. Add distill.augment, or remove views.",
    ),
    "layers of an onnx file for the first assistant": (
        changed("{model: model.py:teacher, train: {}}", "{onnx: student.onnx}").replace(
            "distill: {}", "distill: {losses: [{hint: {student: a, teacher: b}}]}"
        )
        + "assistants: [{model: model.py:student, distill: "
        "{losses: [kd], stages: [{losses: [{attention: {student: a, teacher: b}}]}, {}]}}]\n",
        "9: assistants[0].distill.stages[0].losses[0].attention: attention reads a layer of the "
        "teacher, and an ONNX file has none to read. Use kd, dkd, dist or mse, or relation and "
        "adversarial without layers, or give the teacher as model:.",
    ),
    # Generations and stages
    "no generation": (
        changed("distill: {}", "distill: {generations: 0}"),
        "5: distill.generations: found 0. Expected a whole number above 0.",
    ),
    "stages that are no list": (
        changed("distill: {}", "distill: {stages: {epochs: 3}}"),
        "5: distill.stages: found a mapping where a list is expected. Write [{epochs: 10}].",
    ),
    "stages that are a number": (
        changed("distill: {}", "distill: {stages: 3}"),
        "5: distill.stages: found 3 where a list is expected. Write [{epochs: 10}].",
    ),
    "no stages": (
        changed("distill: {}", "distill: {stages: []}"),
        "5: distill.stages: an empty list. Leave it out to train in one part.",
    ),
    "a stage that is no mapping": (
        changed("distill: {}", "distill: {stages: [{}, 3]}"),
        "5: distill.stages[1]: found 3 where a mapping is expected. Allowed keys: epochs, "
        "learning_rate, losses, only.",
    ),
    "a setting that no stage has": (
        changed("distill: {}", "distill: {stages: [{epoch: 3}]}"),
        "5: distill.stages[0].epoch: unknown key. Did you mean epochs? Allowed keys: epochs, "
        "learning_rate, losses, only.",
    ),
    "a schedule that no stage can have": (
        changed("distill: {}", "distill: {stages: [{epochs: 0}]}"),
        "5: distill.stages[0].epochs: found 0. Expected a whole number above 0.",
    ),
    "one layer where a list is expected": (
        changed("distill: {}", "distill: {stages: [{only: body}]}"),
        "5: distill.stages[0].only: found 'body'. Expected a list of texts.",
    ),
    "a stage without losses": (
        changed("distill: {}", "distill: {stages: [{losses: []}]}"),
        "5: distill.stages[0].losses: an empty list. Leave it out for the usual losses of the "
        "task.",
    ),
    "a stage in which nothing is learnt": (
        changed(
            "distill: {}", "distill: {losses: [kd], stages: [{}, {losses: [{ce: {weight: 0}}]}]}"
        ),
        "5: distill.stages[1].losses: every weight is 0, so nothing is learnt. Raise one of them.",
    ),
    "a loss of another task in a stage": (
        budgeted(changed("distill: {}", "distill: {stages: [{losses: [ce]}]}\ntask: regression")),
        "5: distill.stages[0].losses[0].ce: ce does not fit regression. Losses of regression: mse, "
        "hint, hidden, attention, similarity, relation, minilm, adversarial.",
    ),
    "a setting that every stage replaces": (
        changed("distill: {}", "distill: {epochs: 9, stages: [{epochs: 3}, {epochs: 4}]}"),
        "5: distill.epochs: every stage has epochs of its own, so that this is never used. Leave "
        "it out here, or in a stage.",
    ),
    # Keys
    "unknown key": (
        RECIPE + "distil: {}\n",
        f"9: distil: unknown key. Did you mean distill? {TOP}",
    ),
    "unknown key without a match": (RECIPE + "zzz: 1\n", f"9: zzz: unknown key. {TOP}"),
    "unknown key in a section": (
        changed("distill: {}", "distill: {epoch: 3}"),
        "5: distill.epoch: unknown key. Did you mean epochs? Allowed keys: epochs, batch_size, "
        "accumulate, optimizer, learning_rate, schedule, weight_decay, momentum, warmup, "
        "clip_norm, ema, early_stop, precision, compile, channels_last, augment, only, trackers, "
        "losses, cache, teachers, learn_from, peers, generations, stages.",
    ),
    "misspelt section counts as given": (
        changed("teacher:", "teachr:"),
        f"3: teachr: unknown key. Did you mean teacher? {TOP}",
    ),
    "misspelt model counts as given": (
        changed("{model: model.py:student}", "{modle: model.py:student}"),
        f"4: student.modle: unknown key. Did you mean model? {STUDENT_KEYS}",
    ),
    "misspelt required key counts as given": (
        changed("source:", "sorce:"),
        "2: data.sorce: unknown key. Did you mean source? "
        "Allowed keys: source, split, inputs, labels, image, files, limit.",
    ),
    "missing name": (
        changed("name: demo\n", ""),
        ": name: missing. Give the release a name, such as name: digits.",
    ),
    "missing data": (
        changed("data: {source: model.py:load}", "seed: 1"),
        ": data: missing. Say where samples come from: data: {source: ...}.",
    ),
    "missing key of a section": (
        changed("{source: model.py:load}", "{}"),
        "2: data.source: missing",
    ),
    "section without a value": (
        changed("quantize: {}", "quantize:"),
        "6: quantize: has no value. Write {} for a section with its defaults, null to leave it "
        "out.",
    ),
    "key written twice": (
        RECIPE + "quantize: {samples: 5}\n",
        "9: quantize: written twice, first on line 6. Keep one of them.",
    ),
    "key that is no word": (RECIPE + "[a]: 1\n", "9: a key has to be a word"),
    # Types
    "text for a whole number": (
        changed("distill: {}", "distill: {epochs: ten}"),
        "5: distill.epochs: found 'ten'. Expected a whole number above 0.",
    ),
    "quoted number": (
        changed("distill: {}", "distill: {epochs: '10'}"),
        "5: distill.epochs: found '10'. Expected a whole number above 0.",
    ),
    "truth value for a number": (
        changed("distill: {}", "distill: {epochs: true}"),
        "5: distill.epochs: found true. Expected a whole number above 0.",
    ),
    "fraction for a whole number": (
        changed("distill: {}", "distill: {epochs: 2.5}"),
        "5: distill.epochs: found 2.5. Expected a whole number above 0.",
    ),
    "number for text": (RECIPE.replace("demo", "1e3"), "1: name: found 1000.0. Expected text."),
    "out of bounds": (
        changed("distill: {}", "distill: {warmup: 1}"),
        "5: distill.warmup: found 1. Expected a number of at least 0 and below 1.",
    ),
    "not a number": (
        changed("distill: {}", "distill: {learning_rate: .nan}"),
        "5: distill.learning_rate: .nan is not a finite number",
    ),
    "infinite": (
        changed("distill: {}", "distill: {clip_norm: 1e999}"),
        "5: distill.clip_norm: 1e999 is not a finite number",
    ),
    "unknown word": (
        changed("distill: {}", "distill: {optimizer: adam}"),
        "5: distill.optimizer: found 'adam'. Expected adamw or sgd. Did you mean adamw?",
    ),
    "word or number": (
        RECIPE + "export: {batch: dynamc}\n",
        "9: export.batch: found 'dynamc'. Expected dynamic or a whole number above 0. "
        "Did you mean dynamic?",
    ),
    "list of two": (
        changed("source: model.py:load", "source: model.py:load, image: {size: [32]}"),
        "2: data.image.size: found a list [32]. Expected a list of 2 whole numbers above 0.",
    ),
    "text for a list": (
        changed("student}", "student, files: a.txt}"),
        "4: student.files: found 'a.txt'. Expected a list of texts.",
    ),
    "text for a section": (
        changed("quantize: {}", "quantize: yes"),
        "6: quantize: found 'yes' where a mapping is expected. Allowed keys: budget, samples.",
    ),
    "unknown role": (
        changed("source: model.py:load", "source: {training: model.py:load}"),
        "2: data.source: found a mapping. Expected text or a mapping with the keys train, "
        "calibration, validation, test.",
    ),
    "unknown task": (
        RECIPE + "task: clasification\n",
        "9: task: found 'clasification'. Expected classification, multilabel, regression or "
        "custom. Did you mean classification?",
    ),
    "name of no folder": (
        changed("demo", "a/b"),
        "1: name: 'a/b' cannot name a folder. Use letters, digits, '.', '_' and '-'.",
    ),
    # Units
    "missing unit": (
        changed("{size: {at_most: 1 MB}}", "{latency: {at_most: 5}}"),
        "8: gates.latency.at_most: 5 has no unit. Write it as 5 ms "
        "(units: s, ms, us, µs, ns, min).",
    ),
    "unknown unit": (
        changed("1 MB", "1 mb"),
        "8: gates.size.at_most: '1 mb' has the unit 'mb'. "
        "Known units: B, kB, KB, MB, GB, KiB, MiB, GiB.",
    ),
    "points without a unit": (
        changed("quantize: {}", "quantize: {budget: {accuracy_drop: 0.5}}"),
        "6: quantize.budget.accuracy_drop: 0.5 has no unit. Write it as 0.5pp (units: pp, %).",
    ),
    "budget of what is no proportion": (
        changed("quantize: {}", "quantize: {}\ntask: regression"),
        "6: quantize.budget.accuracy_drop: missing: only proportions have a default. "
        "Write quantize: {budget: {accuracy_drop: 0.05}}, on the metric's scale.",
    ),
    "budget in points of what has none": (
        changed("quantize: {}", "quantize: {budget: {accuracy_drop: 1pp}}\ntask: regression"),
        "6: quantize.budget.accuracy_drop: '1pp' is in points, and mae is not a proportion. "
        "Write a number on its scale, such as 0.05.",
    ),
    "budget below zero": (
        changed("quantize: {}", "quantize: {budget: {accuracy_drop: -1pp}}"),
        "6: quantize.budget.accuracy_drop: '-1pp' is no budget. "
        "Write what int8 may cost, such as 0.5pp.",
    ),
    "no time": (
        RECIPE + "measure: {block: 0 ms}\n",
        "9: measure.block: '0 ms' is no time. Write a value above 0.",
    ),
    "time below zero": (
        RECIPE + "measure: {decide_within: -1 s}\n",
        "9: measure.decide_within: '-1 s' is no time. Write 0 s or more.",
    ),
    "time limit that no load keeps": (
        RECIPE + "measure: {time_limit: 1 ms}\n",
        "9: measure.time_limit: '1 ms' is too short for an engine to load. Write 1 s or more.",
    ),
    # Metrics
    "unknown metric": (
        RECIPE + "metric: acuracy\n",
        "9: metric: 'acuracy' is not a metric of classification. Did you mean accuracy? Known "
        "metrics: accuracy, top5, f1_macro, balanced_accuracy, mean_iou. "
        "Or bring your own: {function: file.py:callable, better: bigger}.",
    ),
    "custom task without a metric": (
        changed("distill: {}", "task: custom\ndistill: {}"),
        ": metric: missing. "
        "A custom task needs metric: {function: file.py:callable, better: bigger}.",
    ),
    "custom task with a name": (
        RECIPE + "task: custom\nmetric: accuracy\n",
        "10: metric: 'accuracy' cannot judge a custom task. "
        "A custom task needs metric: {function: file.py:callable, better: bigger}.",
    ),
    "metric that points nowhere": (
        budgeted(RECIPE + "metric: {function: 'model.py:load'}\n"),
        "9: metric.better: missing",
    ),
    # Losses
    "unknown loss": (
        changed("distill: {}", "distill: {losses: [{kld: {}}]}"),
        "5: distill.losses[0]: 'kld' is not a known loss. Did you mean kd? "
        f"Known losses: {LOSSES}.",
    ),
    "unknown bare loss": (
        changed("distill: {}", "distill: {losses: [zzz]}"),
        f"5: distill.losses[0]: 'zzz' is not a known loss. Known losses: {LOSSES}.",
    ),
    "losses as a mapping": (
        changed("distill: {}", "distill: {losses: {kd: {}}}"),
        "5: distill.losses: found a mapping where a list is expected. "
        "Write [{ce: {weight: 0.1}}, {kd: {weight: 0.9}}].",
    ),
    "two losses in one entry": (
        changed("distill: {}", "distill: {losses: [{kd: {}, ce: {}}]}"),
        "5: distill.losses[0]: found a mapping where one loss with its settings is expected. "
        "Write - kd: {weight: 0.9}. "
        f"Known losses: {LOSSES}.",
    ),
    "unknown setting of a loss": (
        changed("distill: {}", "distill: {losses: [{kd: {temprature: 4}}]}"),
        "5: distill.losses[0].kd.temprature: unknown key. Did you mean temperature? "
        "Allowed keys: weight, temperature, standardize.",
    ),
    "schedule with a misspelt key": (
        changed(
            "distill: {}", "distill: {losses: [{kd: {weight: {start: 0, end: 1, shap: step}}}]}"
        ),
        "5: distill.losses[0].kd.weight.shap: unknown key. Did you mean shape? "
        "Allowed keys: start, end, shape, begin, until.",
    ),
    "schedule below zero": (
        changed("distill: {}", "distill: {losses: [{kd: {weight: {start: 0, end: -1}}}]}"),
        "5: distill.losses[0].kd.weight.end: found -1. Expected a number of at least 0.",
    ),
    "schedule that ends before it begins": (
        changed(
            "distill: {}",
            "distill: {losses: [{kd: {weight: {start: 0, end: 1, begin: 0.5, until: 0.1}}}]}",
        ),
        "5: distill.losses[0].kd.weight: it begins at 0.5 and ends before that, at 0.1",
    ),
    "neither number nor schedule": (
        changed("distill: {}", "distill: {losses: [{kd: {temperature: hot}}]}"),
        "5: distill.losses[0].kd.temperature: found 'hot'. Expected a number above 0, a mapping "
        "with the keys start, end, shape, begin, until or adaptive.",
    ),
    "temperature that reaches zero": (
        changed("distill: {}", "distill: {losses: [{kd: {temperature: {start: 4, end: 0}}}]}"),
        "5: distill.losses[0].kd: temperature reaches 0. Keep it above",
    ),
    "weights that are always zero": (
        changed("distill: {}", "distill: {losses: [{kd: {weight: {start: 0, end: 0}}}]}"),
        "5: distill.losses: every weight is 0, so nothing is learnt. Raise one of them.",
    ),
    "one layer of a pair": (
        changed("distill: {}", "distill: {losses: [{relation: {student: body}}]}"),
        "5: distill.losses[0].relation: one layer alone. Name a layer of student and one of "
        "teacher, or neither",
    ),
    "empty map of layers": (
        changed("distill: {}", "distill: {losses: [{hidden: {student: a, teacher: b, map: {}}}]}"),
        "5: distill.losses[0].hidden: map is empty. Write student's layer: teacher's layer",
    ),
    "heads on nothing": (
        changed("distill: {}", "distill: {losses: [{heads: {layers: []}}]}"),
        "5: distill.losses[0].heads: layers is empty. Name layers of the student",
    ),
    "two heads on a layer": (
        changed("distill: {}", "distill: {losses: [{heads: {layers: [a, b, a]}}]}"),
        "5: distill.losses[0].heads: layers names a layer twice. Name each once",
    ),
    "heads of values": (
        budgeted(changed("distill: {}", "distill: {losses: [{heads: {layers: [a]}}]}"))
        + "task: regression\n",
        "5: distill.losses[0].heads: heads does not fit regression. Losses of regression: mse, "
        "hint, hidden, attention, similarity, relation, minilm, adversarial.",
    ),
    "views that are all the same": (
        changed("distill: {}", "distill: {cache: {views: 3}}"),
        "5: distill.cache.views: 3 views of each sample, and without augment they are all the "
        "same. Add distill.augment, or remove views.",
    ),
    "loss of another task": (
        budgeted(changed("distill: {}", "distill: {losses: [ce]}\ntask: regression")),
        "5: distill.losses[0].ce: ce does not fit regression. Losses of regression: mse, hint, "
        "hidden, attention, similarity, relation, minilm, adversarial.",
    ),
    "distance to class numbers": (
        changed("distill: {}", "distill: {losses: [{mse: {to: labels}}]}"),
        "5: distill.losses[0].mse.to: labels of classification are no values to be near to. "
        "Use ce for labels, or mse to: teacher.",
    ),
    "weights all zero": (
        changed("distill: {}", "distill: {losses: [{ce: {weight: 0}}, {kd: {weight: 0}}]}"),
        "5: distill.losses: every weight is 0, so nothing is learnt. Raise one of them.",
    ),
    "no loss": (
        changed("distill: {}", "distill: {losses: []}"),
        "5: distill.losses: an empty list. Leave it out for the usual losses of the task.",
    ),
    # Models
    "no student": (
        changed("student: {model: model.py:student}\ndistill: {}", "seed: 1"),
        ": student: missing. It is what ships: to ship the teacher itself, write student: "
        "instead of teacher:.",
    ),
    "distillation without a teacher": (
        changed("teacher: {model: model.py:teacher, train: {}}", "seed: 1"),
        "5: distill: there is no teacher to learn from. Add teacher:, or learn_from: average or "
        "peers, or train the student alone with student: {train: {}}.",
    ),
    "classes of values": (
        budgeted(changed("student}", "student, classes: last}")) + "task: regression\n",
        "4: student.classes: classes is for classification, and the task is regression. "
        "Leave classes out.",
    ),
    "a peer's classes of values": (
        budgeted(
            changed(
                "distill: {}",
                "distill: {learn_from: peers, peers: [{model: model.py:student, classes: first}]}",
            )
        )
        + "task: regression\n",
        "5: distill.peers[0].classes: classes is for classification, and the task is regression. "
        "Leave classes out.",
    ),
    # Learning without a teacher
    "nobody of that name": (
        changed("distill: {}", "distill: {learn_from: itself}"),
        "5: distill.learn_from: found 'itself'. Expected teacher, average or peers.",
    ),
    "kept answers of nobody": (
        changed("teacher: {model: model.py:teacher, train: {}}", "seed: 1").replace(
            "distill: {}", "distill: {losses: [ce], cache: {}}"
        ),
        "5: distill.cache: there is no teacher whose answers could be kept. Remove cache.",
    ),
    "kept answers of the average": (
        changed("distill: {}", "distill: {learn_from: average, ema: 0.99, cache: {}}"),
        "5: distill.cache: the student's average changes with every step: its answers cannot be "
        "kept. Remove cache.",
    ),
    "kept answers of peers": (
        changed(
            "distill: {}",
            "distill: {learn_from: peers, peers: [{model: model.py:student}], cache: {}}",
        ),
        "5: distill.cache: peers change with every step: their answers cannot be kept. "
        "Remove cache.",
    ),
    "no average": (
        changed("distill: {}", "distill: {learn_from: average}"),
        "5: distill.learn_from: there is no average of the student's weights. Add ema: 0.999, the "
        "average's decay.",
    ),
    "no loss learns from the average": (
        changed("distill: {}", "distill: {learn_from: average, ema: 0.9, losses: [ce]}"),
        "5: distill.losses: no loss learns from the average. Add kd or mse, or leave learn_from: "
        "average out.",
    ),
    "nobody knows the labels": (
        changed("distill: {}", "distill: {learn_from: average, ema: 0.9, losses: [kd, dkd]}"),
        "5: distill.losses: no loss brings the student's prediction to the labels, and there is no "
        "teacher that knows more than the student. Add ce.",
    ),
    "heads alone": (
        changed("teacher: {model: model.py:teacher, train: {}}", "seed: 1").replace(
            "distill: {}", "distill: {losses: [{heads: {layers: [body]}}]}"
        ),
        "5: distill.losses: no loss brings the student's prediction to the labels, and there is no "
        "teacher that knows more than the student. Add ce.",
    ),
    "nobody knows the values": (
        budgeted(changed("distill: {}", "distill: {learn_from: average, ema: 0.9, losses: [mse]}"))
        + "task: regression\n",
        "5: distill.losses: no loss brings the student's prediction to the labels, and there is no "
        "teacher that knows more than the student. Add mse: {to: labels}.",
    ),
    "no peers": (
        changed("distill: {}", "distill: {learn_from: peers}"),
        "5: distill.peers: missing. Add peers: [{model: file.py:callable}].",
    ),
    "peers that nobody learns from": (
        changed("distill: {}", "distill: {peers: [{model: model.py:student}]}"),
        "5: distill.peers: nobody learns from them: learn_from is teacher. Add learn_from: peers, "
        "or remove peers.",
    ),
    "peers as a mapping": (
        changed("distill: {}", "distill: {learn_from: peers, peers: {model: model.py:student}}"),
        "5: distill.peers: found a mapping where a list is expected. "
        "Write [{model: file.py:callable}].",
    ),
    "a peer without a model": (
        changed("distill: {}", "distill: {learn_from: peers, peers: [{arguments: {}}]}"),
        "5: distill.peers[0].model: missing",
    ),
    "a peer with a key of other models": (
        changed(
            "distill: {}",
            "distill: {learn_from: peers, peers: [{model: model.py:student, depth: 0.5}]}",
        ),
        "5: distill.peers[0].depth: unknown key. Allowed keys: model, arguments, files, normalize, "
        "output, classes.",
    ),
    "a peer that is not there": (
        changed("distill: {}", "distill: {learn_from: peers, peers: [{model: model.py:peer}]}"),
        "5: distill.peers[0].model: there is no 'peer' in model.py. It has: load, teacher, Nets, "
        "student.",
    ),
    "a peer's file that is not there": (
        changed(
            "distill: {}",
            "distill: {learn_from: peers, peers: [{model: model.py:student, files: [mdel.py]}]}",
        ),
        "5: distill.peers[0].files[0]: there is no file mdel.py. Did you mean model.py?",
    ),
    "an average in a chain": (
        changed("distill: {}", "distill: {learn_from: average, ema: 0.9}")
        + "assistants: [{model: model.py:student}]\n",
        "5: distill.learn_from: with assistants each model learns from the one before it, not from "
        "its average. Leave learn_from out, or assistants.",
    ),
    "an assistant that learns from peers": (
        RECIPE + "assistants: [{model: model.py:student, distill: {learn_from: peers, peers: "
        "[{model: model.py:student}]}}]\n",
        "9: assistants[0].distill.learn_from: with assistants each model learns from the one "
        "before it, not from its peers. Leave learn_from out, or assistants.",
    ),
    "generations of an average": (
        changed("distill: {}", "distill: {learn_from: average, ema: 0.9, generations: 2}"),
        "5: distill.generations: a generation learns from the one before it, not from its average. "
        "Leave generations out, or learn_from: average.",
    ),
    "generations with peers": (
        changed(
            "distill: {}",
            "distill: {learn_from: peers, peers: [{model: model.py:student}], generations: 2}",
        ),
        "5: distill.generations: a generation learns from the one before it, not from its peers. "
        "Leave generations out, or learn_from: peers.",
    ),
    "stages with peers": (
        changed(
            "distill: {}",
            "distill: {learn_from: peers, peers: [{model: model.py:student}], stages: "
            "[{epochs: 2}, {}]}",
        ),
        "5: distill.stages: peers would begin anew in every stage, beside a student that has "
        "learnt. Leave stages out, or learn from a teacher or the average.",
    ),
    "generations that teach nothing": (
        changed(
            "distill: {}", "distill: {losses: [ce, {heads: {layers: [a]}}], generations: 2}"
        ).replace("teacher: {model: model.py:teacher, train: {}}\n", ""),
        "4: distill.losses: no loss learns from the generation before. Add kd or mse, or leave "
        "generations out.",
    ),
    "an average whose last stage forgets the labels": (
        changed(
            "distill: {}",
            "distill: {learn_from: average, ema: 0.9, stages: [{losses: [kd, ce]}, "
            "{losses: [kd]}]}",
        ),
        "5: distill.stages[1].losses: no loss brings the student's prediction to the labels, and "
        "there is no teacher that knows more than the student. Add ce.",
    ),
    "assistants that nobody learns from": (
        changed("distill: {}", "distill: {losses: [ce]}")
        + "assistants: [{model: model.py:student, distill: {}}]\n",
        "5: distill.losses: no loss learns from the model before it. Add kd or mse, or leave "
        "assistants out.",
    ),
    "several teachers and an average": (
        changed("student:", f"teachers: {{{WIDE}}}\nstudent:").replace(
            "distill: {}", "distill: {learn_from: average, ema: 0.9}"
        ),
        "4: teachers: no student learns from them: learn_from is average. Leave teachers: out, or "
        "learn_from.",
    ),
    "several teachers and peers": (
        changed("student:", f"teachers: {{{WIDE}}}\nstudent:").replace(
            "distill: {}", "distill: {learn_from: peers, peers: [{model: model.py:student}]}"
        ),
        "4: teachers: no student learns from them: learn_from is peers. Leave teachers: out, or "
        "learn_from.",
    ),
    "weights for a student that learns from an assistant": (
        changed("student:", f"teachers: {{{WIDE}}}\nstudent:").replace(
            "distill: {}", "distill: {teachers: confidence}"
        )
        + "assistants: [{model: model.py:student, distill: {}}]\n",
        "6: distill.teachers: only the first assistant learns from the recipe's teachers. Write it "
        "in assistants[0].distill.",
    ),
    "a layer of a further teacher for a student that learns from an assistant": (
        changed("student:", f"teachers: {{{WIDE}}}\nstudent:").replace(
            "distill: {}", "distill: {losses: [kd, {hint: {student: a, teacher: 'wide:b'}}]}"
        )
        + "assistants: [{model: model.py:student, distill: {}}]\n",
        "6: distill.losses[1].hint.teacher: wide teaches the first model of the chain alone. Leave "
        "wide: out, for a layer of the model before, or remove the loss.",
    ),
    "a layer of a further teacher for an assistant and the student": (
        changed("student:", f"teachers: {{{WIDE}}}\nstudent:").replace(
            "distill: {}", "distill: {losses: [kd, {hint: {student: a, teacher: 'wide:b'}}]}"
        )
        + "assistants: [{model: model.py:student}]\n",
        "6: distill.losses[1].hint.teacher: wide teaches the first model of the chain, and others "
        "learn by this loss too. Leave wide: out, for a layer of the model before, or remove the "
        "loss.",
    ),
    "a layer of a further teacher for every generation": (
        changed("student:", f"teachers: {{{WIDE}}}\nstudent:").replace(
            "distill: {}",
            "distill: {generations: 2, losses: [kd, {hint: {student: a, teacher: 'wide:b'}}]}",
        ),
        "6: distill.losses[1].hint.teacher: wide teaches the first model of the chain, and others "
        "learn by this loss too. Leave wide: out, for a layer of the model before, or remove the "
        "loss.",
    ),
    "an assistant that is a function": (
        RECIPE + "assistants: [{function: model.py:student}]\n",
        "9: assistants[0].function: an assistant is distilled here, and function is for models "
        "that came trained. Give it a model: or from: teacher.",
    ),
    "a layer of peers": (
        changed(
            "distill: {}",
            "distill: {learn_from: peers, peers: [{model: model.py:student}], losses: [ce, "
            "{hint: {student: a, teacher: b}}]}",
        ),
        "5: distill.losses[1].hint: hint reads a layer of a teacher, and peers are asked for "
        "predictions. Use kd, dkd, dist or mse, or relation and adversarial without layers, or "
        "learn from a teacher or the average.",
    ),
    "neither model nor onnx": (
        changed("{model: model.py:student}", "{}"),
        "4: student: neither model nor onnx. Write model: file.py:callable or onnx: file.onnx.",
    ),
    "model and onnx": (
        changed("{model: model.py:student}", "{model: model.py:student, onnx: student.onnx}"),
        "4: student.onnx: both model and onnx. Keep one of them.",
    ),
    "onnx with arguments": (
        changed(
            "student: {model: model.py:student}\ndistill: {}",
            "student: {onnx: student.onnx, arguments: {width: 3}}\nseed: 1",
        ),
        "4: student.arguments: arguments is for PyTorch models, and student.onnx is complete. "
        "Leave arguments out, or give the model as model:.",
    ),
    "distillation of an onnx file": (
        changed("{model: model.py:student}", "{onnx: student.onnx}"),
        "4: student.onnx: an ONNX file cannot be trained. Leave distill: out, or give a model:.",
    ),
    "layers of an onnx file": (
        changed("{model: model.py:teacher, train: {}}", "{onnx: student.onnx}").replace(
            "distill: {}", "distill: {losses: [kd, {hint: {student: a, teacher: b}}]}"
        ),
        "5: distill.losses[1].hint: hint reads a layer of the teacher, and an ONNX file has none "
        "to read. Use kd, dkd, dist or mse, or relation and adversarial without layers, or give "
        "the teacher as model:.",
    ),
    "untrained teacher": (
        changed("teacher, train: {}}", "teacher}"),
        "3: teacher: nothing gives it trained weights. Add train: {} or weights:, "
        "or pretrained: true if the callable loads them.",
    ),
    "untrained student": (
        changed("distill: {}", "seed: 1"),
        "4: student: nothing gives it trained weights. Add train: {}, distill: or weights:, "
        "or pretrained: true if the callable loads them.",
    ),
    "weights and training": (
        changed("train: {}}", "train: {}, weights: weights.safetensors}"),
        "3: teacher.weights: weights are final, and train would change them. "
        "Keep one. To start from trained weights, load them in the callable.",
    ),
    "pretrained and distilled": (
        changed("student}", "student, pretrained: true}"),
        "4: student.pretrained: pretrained says that the callable's weights are final, and "
        "distill would change them. "
        "Keep one. To start from trained weights, load them in the callable.",
    ),
    "trained and distilled": (
        changed("student}", "student, train: {}}"),
        "4: student.train: train gives weights, and distill would change them. "
        "Keep one. To start from trained weights, load them in the callable.",
    ),
    # Several teachers
    "teachers as a list": (
        changed("distill: {}", "distill: {}\nteachers: [{model: model.py:teacher}]"),
        "6: teachers: found a list where a mapping of names to teachers is expected. "
        "Write {wide: {model: file.py:callable, train: {}}}.",
    ),
    "a further teacher called teacher": (
        several("teacher: {model: model.py:teacher, train: {}}"),
        "6: teachers.teacher: 'teacher' cannot name a further teacher. Use letters, digits, '.', "
        "'_' and '-', and neither teacher nor student.",
    ),
    "a further teacher with a colon": (
        several("'a:b': {model: model.py:teacher, train: {}}"),
        "6: teachers.a:b: 'a:b' cannot name a further teacher. Use letters, digits, '.', '_' and "
        "'-', and neither teacher nor student.",
    ),
    "an unknown key of a further teacher": (
        several("wide: {modl: model.py:teacher, train: {}}"),
        f"6: teachers.wide.modl: unknown key. Did you mean model? {TEACHER_KEYS}",
    ),
    "an untrained further teacher": (
        several("wide: {model: model.py:teacher}"),
        "6: teachers.wide: nothing gives it trained weights. Add train: {} or weights:, "
        "or pretrained: true if the callable loads them.",
    ),
    "a further teacher whose file is missing": (
        several("wide: {onnx: stud.onnx}"),
        "6: teachers.wide.onnx: there is no file stud.onnx. Did you mean student.onnx?",
    ),
    "a further teacher made from another": (
        several("wide: {from: teacher, train: {}}"),
        "6: teachers.wide.from: only a student is made from a teacher. Give it a model:.",
    ),
    "further teachers without the first": (
        several(WIDE).replace("teacher: {model: model.py:teacher, train: {}}\n", "seed: 1\n"),
        "6: teachers: further teachers, and no teacher for gates and hops to refer to. "
        "Write one of them as teacher:.",
    ),
    "teachers whom no student learns from": (
        several(WIDE)
        .replace("distill: {}\n", "seed: 1\n")
        .replace("model.py:student}", "model.py:student, train: {}}"),
        "6: teachers: no student learns from them. Add distill: {}, or leave teachers: out.",
    ),
    "weights that are a word": (
        weighed("los"),
        "5: distill.teachers: found 'los'. Did you mean loss? Write confidence, loss, or a weight "
        "for each: {teacher: 0.7, wide: 0.3}.",
    ),
    "weights that are a number": (
        weighed("3"),
        "5: distill.teachers: found 3. Write confidence, loss, or a weight for each: "
        "{teacher: 0.7, wide: 0.3}.",
    ),
    "a weight below zero": (
        weighed("{teacher: 1, wide: -1}"),
        "5: distill.teachers.wide: found -1. Expected a number of at least 0.",
    ),
    "a weight of nobody": (
        weighed("{teacher: 1, wide: 1, wild: 1}"),
        "5: distill.teachers.wild: there is no teacher 'wild'. Did you mean 'wide'?",
    ),
    "a teacher without a weight": (
        weighed("{teacher: 1}"),
        "5: distill.teachers: wide has no weight. Add wide: 1, or wide: 0 to leave it out.",
    ),
    "a weight that was taken out": (
        weighed("{teacher: 1, wide: null}"),
        "5: distill.teachers: wide has no weight. Add wide: 1, or wide: 0 to leave it out.",
    ),
    "teachers whose weights are all zero": (
        weighed("{teacher: 0, wide: 0}"),
        "5: distill.teachers: every weight is 0, so no teacher is heard. Raise one of them.",
    ),
    "one teacher, weighed": (
        changed("distill: {}", "distill: {teachers: confidence}"),
        "5: distill.teachers: there is one teacher, and nothing to weigh it against. "
        "Add others in teachers:, or leave it out.",
    ),
    "teachers, misspelt and weighed": (
        weighed("{teacher: 1, wide: 1}").replace("teachers: {wide:", "techers: {wide:"),
        f"6: techers: unknown key. Did you mean teachers? {TOP}",
    ),
    "confidence in values": (
        budgeted(weighed("confidence") + "task: regression\n"),
        "5: distill.teachers: confidence weighs probabilities of classes, and regression has none. "
        "Write a weight for each: {teacher: 0.7, wide: 0.3}.",
    ),
    "loss of a custom task": (
        budgeted(
            weighed("loss") + "task: custom\nmetric: {function: 'model.py:load', better: bigger}\n"
        ),
        "5: distill.teachers: loss weighs probabilities of classes, and custom has none. "
        "Write a weight for each: {teacher: 0.7, wide: 0.3}.",
    ),
    "a layer of nobody": (
        several(WIDE).replace(
            "distill: {}", "distill: {losses: [{hint: {student: a, teacher: 'wde:b'}}]}"
        ),
        "5: distill.losses[0].hint.teacher: there is no teacher 'wde'. Did you mean 'wide'?",
    ),
    "a layer of a further teacher that has none": (
        several("wide: {onnx: student.onnx}").replace(
            "distill: {}", "distill: {losses: [{hint: {student: a, teacher: 'wide:b'}}]}"
        ),
        "5: distill.losses[0].hint: hint reads a layer of the teacher wide, and an ONNX file has "
        "none to read. Use kd, dkd, dist or mse, or relation and adversarial without layers, or "
        "give the teacher as model:.",
    ),
    # A teacher that is a function
    "a function that is not there": (
        taught_by("{function: 'model.py:stud'}"),
        "3: teacher.function: there is no 'stud' in model.py. Did you mean 'student'?",
    ),
    "a function and a model": (
        taught_by("{model: model.py:teacher, function: model.py:teacher}"),
        "3: teacher.function: both model and function. Keep one of them.",
    ),
    "a function that is trained": (
        taught_by("{function: model.py:teacher, train: {}}"),
        "3: teacher.train: train is for models, and a function does by itself all it has to do. "
        "Leave train out.",
    ),
    "a function that is normalised": (
        taught_by("{function: model.py:teacher, normalize: {range: 255}}"),
        "3: teacher.normalize: normalize is for models, and a function does by itself all it has "
        "to do. Leave normalize out.",
    ),
    "a teacher that is nothing": (
        taught_by("{files: [model.py]}"),
        "3: teacher: neither model, onnx nor function. Write model: file.py:callable, onnx: "
        "file.onnx or function: file.py:callable.",
    ),
    "a student that is a function": (
        changed("{model: model.py:student}", "{function: model.py:student}").replace(
            "distill: {}", "seed: 1"
        ),
        "4: student.function: a function cannot be shipped. Give it a model: or onnx:; a function "
        "may be its teacher.",
    ),
    "layers of a function": (
        taught_by("{function: model.py:teacher}").replace(
            "distill: {}", "distill: {losses: [{attention: {student: a, teacher: b}}]}"
        ),
        "5: distill.losses[0].attention: attention reads a layer of the teacher, and a function "
        "has none to read. Use kd, dkd, dist or mse, or relation and adversarial without layers, "
        "or give the teacher as model:.",
    ),
    "a student from a function": (
        taught_by("{function: model.py:teacher}").replace(
            "{model: model.py:student}", "{from: teacher}"
        ),
        "4: student.from: the teacher is a function, which has no layers to take. Give the teacher "
        "as model: and weights:.",
    ),
    "faster than a function": (
        taught_by("{function: model.py:teacher}").replace(
            "{size: {at_most: 1 MB}}", "{speedup: {at_least: 2x}}"
        ),
        "8: gates.speedup: the teacher is a function, which no target runs. Compare with over: "
        "student, or give the teacher as onnx:.",
    ),
    # Targets
    "unknown target": (
        changed("[onnxruntime]", "[openvno]"),
        f"7: targets[0].target: 'openvno' is not a known target. Did you mean openvino? "
        f"{KNOWN_TARGETS}",
    ),
    "target without a name": (
        changed("[onnxruntime]", "[onnxruntime, {precision: fp32}]"),
        f"7: targets[1].target: missing. {KNOWN_TARGETS}",
    ),
    "targets as a mapping": (
        changed("[onnxruntime]", "{onnxruntime: {}}"),
        "7: targets: found a mapping where a list is expected. "
        "Write [{target: openvino}, {target: onnxruntime}].",
    ),
    "unsupported precision": (
        changed("[onnxruntime]", "[onnxruntime, {target: tensorrt, precision: int4}]"),
        "7: targets[1].precision: 'int4' is not supported by tensorrt. "
        "Supported: fp32, fp16, int8.",
    ),
    "unsupported precision in a list": (
        changed("[onnxruntime]", "[{target: onnxruntime, precision: [fp32, bf8]}]"),
        "7: targets[0].precision: 'bf8' is not supported by onnxruntime. "
        f"Supported: {', '.join(TARGETS['onnxruntime'].precisions)}.",
    ),
    "auto in a list": (
        changed("[onnxruntime]", "[{target: onnxruntime, precision: [auto, fp32]}]"),
        "7: targets[0].precision: auto stands alone. Write precision: auto.",
    ),
    "precision twice": (
        changed("[onnxruntime]", "[{target: onnxruntime, precision: [fp32, fp32]}]"),
        "7: targets[0].precision: fp32 is written twice. Keep one of them.",
    ),
    "no precision": (
        changed("[onnxruntime]", "[{target: onnxruntime, precision: []}]"),
        "7: targets[0].precision: an empty list. "
        f"Supported: {', '.join(TARGETS['onnxruntime'].precisions)}.",
    ),
    "int8 without quantize": (
        changed(
            "quantize: {}\ntargets: [onnxruntime]",
            "seed: 1\ntargets: [{target: onnxruntime, precision: int8}]",
        ),
        "7: targets[0].precision: int8 needs a quantized model, and the recipe has no quantize:. "
        "Add quantize: {}, or leave int8 out.",
    ),
    "target twice": (
        changed("[onnxruntime]", "[onnxruntime, {target: onnxruntime, precision: fp32}]"),
        "7: targets[1].target: onnxruntime stands in targets[0] already. "
        "Keep one entry, with all its precisions, or write a second recipe.",
    ),
    "verified nowhere known": (
        changed("[onnxruntime]", "[onnxruntime, {target: openvino, verify: there}]"),
        "7: targets[1].verify: found 'there'. Expected here or elsewhere. Did you mean here?",
    ),
    # Gates
    "unknown gate": (
        changed("{size:", "{sise:"),
        f"8: gates.sise: not a known gate. Did you mean size? Known gates: {GATES}.",
    ),
    "metric of another task": (
        changed("{size: {at_most: 1 MB}}", "{mae: {at_most: 1}}"),
        f"8: gates.mae: a metric of regression, and the task is classification. "
        f"Known gates: {GATES}.",
    ),
    "metric that is not the recipe's": (
        changed("{size: {at_most: 1 MB}}", "{top5: {at_least: 90 %}}"),
        "8: gates.top5: the metric of this recipe is accuracy. "
        "Write metric: top5, or a gate on accuracy.",
    ),
    "score without a metric of one's own": (
        changed("{size: {at_most: 1 MB}}", "{score: {at_least: 1}}"),
        "8: gates.score: the gate of a metric of your own, and the recipe has none. "
        f"Known gates: {GATES}.",
    ),
    "gate without a bound": (
        changed("{size: {at_most: 1 MB}}", "{accuracy: {drop_vs: teacher}}"),
        "8: gates.accuracy: a gate without a budget. Write {drop_vs: teacher, at_most: 1pp}.",
    ),
    "gate with both bounds": (
        changed("{size: {at_most: 1 MB}}", "{accuracy: {at_least: 0.1, at_most: 0.2}}"),
        "8: gates.accuracy: both at_most and at_least. "
        "Keep one; a list of two gates can have both.",
    ),
    "smallest drop": (
        changed("{size: {at_most: 1 MB}}", "{accuracy: {drop_vs: teacher, at_least: 1pp}}"),
        "8: gates.accuracy.at_least: a drop has no smallest size. "
        "Write at_most: the drop may be so large and no larger.",
    ),
    "largest accuracy": (
        changed("{size: {at_most: 1 MB}}", "{accuracy: {at_most: 0.9}}"),
        "8: gates.accuracy.at_most: a bigger accuracy is better: this would refuse good models. "
        "Write at_least, or drop_vs: teacher for a largest drop.",
    ),
    "smallest error": (
        budgeted(changed("{size: {at_most: 1 MB}}", "{mae: {at_least: 3}}\ntask: regression")),
        "8: gates.mae.at_least: a smaller mae is better: this would refuse good models. "
        "Write at_most: 0.5.",
    ),
    "points of what is no proportion": (
        budgeted(
            changed(
                "{size: {at_most: 1 MB}}",
                "{mae: {drop_vs: teacher, at_most: 3pp}}\ntask: regression\nmetric: mae",
            )
        ),
        "8: gates.mae.at_most: '3pp' is in points, and mae is not a proportion. "
        "Write a number on the scale of mae, such as 0.5.",
    ),
    "an empty list of gates": (
        changed("{size: {at_most: 1 MB}}", "{size: []}"),
        "8: gates.size: an empty list. Write a gate, or leave it out.",
    ),
    "more threads than any machine has": (
        RECIPE + "threads: 99999999999\n",
        "9: threads: found 99999999999. Expected a whole number above 0 and of at most 1024.",
    ),
    "a score that every model has": (
        changed("{size: {at_most: 1 MB}}", "{accuracy: {at_least: 0 %}}"),
        "8: gates.accuracy.at_least: every model has '0 %' of accuracy. Write a value above 0.",
    ),
    "more than the whole": (
        changed("{size: {at_most: 1 MB}}", "{accuracy: {at_least: 92}}"),
        "8: gates.accuracy.at_least: 92 is more than the whole of accuracy. Write 92 % or 0.92.",
    ),
    "drop of more than the whole": (
        changed("{size: {at_most: 1 MB}}", "{accuracy: {drop_vs: teacher, at_most: 3.0}}"),
        "8: gates.accuracy.at_most: 3.0 is more than the whole of accuracy. Write 3pp or 0.03.",
    ),
    "agreement of more than the whole": (
        changed("{size: {at_most: 1 MB}}", "{agreement: {at_least: 101 %}}"),
        "8: gates.agreement.at_least: '101 %' is more than the whole of agreement",
    ),
    "budget of nothing": (
        changed("1 MB", "0 MB"),
        "8: gates.size.at_most: '0 MB' is no budget. Write a value above 0.",
    ),
    "gate in a list": (
        changed("{size: {at_most: 1 MB}}", "{latency: [{at_most: 5 ms}, {at_mst: 5 ms}]}"),
        "8: gates.latency[1].at_mst: unknown key. Did you mean at_most? "
        "Allowed keys: at_most, percentile, batch, rate.",
    ),
    "rate at which nothing comes": (
        changed("{size: {at_most: 1 MB}}", "{latency: {at_most: 5 ms, rate: 0/s}}"),
        "8: gates.latency.rate: '0/s' is no rate. Write a value above 0, such as 100/s.",
    ),
    "rate without a unit": (
        changed("{size: {at_most: 1 MB}}", "{latency: {at_most: 5 ms, rate: 100}}"),
        "8: gates.latency.rate: 100 has no unit. Write it as 100/s (units: /s, /min).",
    ),
    "batch where it is searched for": (
        changed(
            "{size: {at_most: 1 MB}}", "{throughput: {mode: offline, at_least: 9/s, batch: 4}}"
        ),
        "8: gates.throughput.batch: offline, the batch size is searched for. "
        "Leave batch out, or leave mode: offline out.",
    ),
    "gates without a target here": (
        changed("[onnxruntime]", "[{target: onnxruntime, verify: elsewhere}]"),
        "8: gates: no target is verified here, so no gate would be decided. "
        "Add a target, such as targets: [{target: onnxruntime}], or leave gates: out.",
    ),
    "gate on another batch than the model's": (
        changed("{size: {at_most: 1 MB}}", "{latency: {at_most: 5 ms}}\nexport: {batch: 8}"),
        "8: gates.latency.batch: the exported model takes batches of 8 alone, not of 1. "
        "Write batch: 8, or export: {batch: dynamic}.",
    ),
    "gate on a larger batch than a target's": (
        changed("[onnxruntime]", "[tensorrt]").replace(
            "{size: {at_most: 1 MB}}", "{throughput: {at_least: 10/s, batch: 17}}"
        ),
        "8: gates.throughput.batch: tensorrt is built for batches of up to 16, not of 17. "
        "Write max_batch: 17 in targets[0].",
    ),
    "option that its target refuses": (
        changed("[onnxruntime]", "[onnxruntime, {target: tensorrt, max_batch: 0}]"),
        "7: targets[1]: max_batch is 0, it has to be 1 or more",
    ),
    # Data
    "shares above 1": (
        changed("load}", "load, split: {train: 0.8, test: 0.3}}"),
        "2: data.split: the shares add up to more than 1: "
        "test 0.3, validation 0.1, calibration 0.1, train 0.8",
    ),
    "a role without a share": (
        changed("load}", "load, split: {train: 0.85}}"),
        "2: data.split: nothing is left for test beside "
        "validation 0.1, calibration 0.1, train 0.85. "
        "Every role needs samples: give it a share above 0, or a source of its own.",
    ),
    "no source for training": (
        changed("source: model.py:load", "source: {test: model.py:load}"),
        "2: data.source: there is no source for train (there is for test). "
        "Add train: to data.source.",
    ),
    "a glob that matches nothing": (
        changed("source: model.py:load", "source: mod*.csv"),
        "2: data.source: no file matches mod*.csv. "
        "{folder} has: model.py, recipe.yaml, student.onnx, weights.safetensors.",
    ),
    "an empty source": (
        changed("source: model.py:load", "source: ''"),
        "2: data.source: it is empty. Name a source: sklearn.digits, .npz, .parquet, .csv or .tsv, "
        "a folder of images with a folder for each class, file.py:callable; tables also as a glob "
        "or as a folder.",
    ),
    "unknown built-in source": (
        changed("model.py:load", "sklearn.digit"),
        "2: data.source: there is no built-in source 'sklearn.digit'. "
        "Built in: sklearn.digits; anything else through file.py:callable.",
    ),
    "missing declared file": (
        changed("load}", "load, files: [model.px]}"),
        "2: data.files[0]: there is no file model.px. Did you mean model.py?",
    ),
    # Files
    "missing model file": (
        changed("model.py:student", "modl.py:student"),
        "4: student.model: there is no file modl.py. Did you mean model.py?",
    ),
    "missing folder": (
        changed("model.py:student", "nowhere/model.py:student"),
        "4: student.model: there is no file nowhere/model.py. "
        "There is no folder {folder}/nowhere either.",
    ),
    "missing callable": (
        changed("model.py:student", "model.py:studnt"),
        "4: student.model: there is no 'studnt' in model.py. Did you mean 'student'?",
    ),
    "callable inside a class": (
        changed("model.py:student", "model.py:inner"),
        "4: student.model: there is no 'inner' in model.py. It has: load, teacher, Nets, student.",
    ),
    "no reference": (
        changed("model.py:student", "model.py"),
        "4: student.model: 'model.py' is not a reference to a callable. "
        "Write file.py:callable or package.module:callable.",
    ),
    "missing module": (
        changed("model.py:student", "edgestil.models.digits:student"),
        "4: student.model: there is no module edgestil. Install it, or write file.py:callable.",
    ),
    "missing module of ours": (
        changed("model.py:student", "edgestill.models.digit:student"),
        "4: student.model: there is no module edgestill.models.digit. Did you mean digits? "
        "There are: config, digits, hugging_face, interface, resolve, weights, wrapper.",
    ),
    "missing callable of a module": (
        changed("model.py:student", "edgestill.models.digits:resnet"),
        "4: student.model: there is no 'resnet' in edgestill.models.digits. It has: {digits}.",
    ),
    "missing weights": (
        changed("train: {}}", "weights: weight.safetensors}"),
        "3: teacher.weights: there is no file weight.safetensors. "
        "Did you mean weights.safetensors?",
    ),
    "folder for weights": (
        changed("train: {}}", "weights: .}"),
        "3: teacher.weights: . is a folder. Name a file.",
    ),
    "missing metric function": (
        budgeted(RECIPE + "metric: {function: 'model.py:scor', better: bigger}\n"),
        "9: metric.function: there is no 'scor' in model.py. It has: load, teacher, Nets, student.",
    ),
    # YAML
    "tab": ("name: demo\ndata:\n\tsource: x\n", "3: not YAML: a tab. Indent with spaces."),
    "second colon": (
        "name: demo\ndata: a: b\n",
        "2: not YAML: a second ': ' in one value. Put the value in quotes, or check the "
        "indentation.",
    ),
    "open bracket": (
        "name: demo\ntargets: [a\ndata: {}\n",
        "3: not YAML: a '[' that is not closed, or a missing comma.",
    ),
    "open quote": ("name: 'demo\n", "2: not YAML: a quote that is not closed."),
    "wrong indentation": (
        "name: demo\n  data: {}\n",
        "2: not YAML: a second ': ' in one value. Put the value in quotes, or check the "
        "indentation.",
    ),
    "two documents": (
        RECIPE + "---\nname: other\n",
        "9: not YAML: a second document ('---'). A recipe is one document.",
    ),
    "control character": ("name: demo\nseed: \x07\n", "2: not YAML: a control character."),
    "tag": (
        RECIPE + "seed: !!python/object/apply:os.getcwd []\n",
        "9: seed: the YAML tag !!python/object/apply:os.getcwd is not known. Leave it out.",
    ),
    "a glob without quotes": (
        changed("source: model.py:load", "source: *.csv"),
        "2: not YAML: a text that begins with *. Put it in quotes.",
    ),
    "alias to itself": (
        changed("{model: model.py:student}", "&s {model: model.py:student, arguments: *s}"),
        "4: student.arguments: an alias that contains itself",
    ),
    "list": ("- a\n", ": a recipe is a mapping of keys to values. Start with name: and data:."),
    "empty": ("", ": a recipe is a mapping of keys to values. Start with name: and data:."),
}


@pytest.mark.parametrize("case", CASES)
def test_the_words_of_each_problem(folder: Path, case: str) -> None:
    text, message = CASES[case]
    message = message.replace("{folder}", str(folder))
    message = message.replace("{digits}", "DigitsNet, teacher, student")
    prefix = "recipe.yaml" if message.startswith(": ") else "recipe.yaml:"
    assert problems(folder, text) == [prefix + message]


def test_roles_whose_globs_overlap(folder: Path) -> None:
    for name in ("train-0.csv", "test-0.csv"):
        (folder / name).touch()
    text = changed("{source: model.py:load}", "{source: {train: '*.csv', test: 'test-*.csv'}}")
    assert problems(folder, text) == [
        "recipe.yaml:2: data.source: test-0.csv is in the source of train and in that of test. "
        "Name apart what each role takes: *.csv and test-*.csv overlap."
    ]


def test_no_reference_without_a_teacher(folder: Path) -> None:
    text = (
        RECIPE.replace("teacher: {model: model.py:teacher, train: {}}\n", "")
        .replace("distill: {}\n", "")
        .replace("student}", "student, train: {}}")
        .replace(
            "{size: {at_most: 1 MB}}",
            "\n  accuracy: {drop_vs: teacher, at_most: 1pp}"
            "\n  agreement: {at_least: 99 %}\n  speedup: {at_least: 2x}",
        )
    )
    assert problems(folder, text) == [
        "recipe.yaml:7: gates.accuracy.drop_vs: the recipe has no teacher. "
        "Add teacher:, or compare with drop_vs: student.",
        "recipe.yaml:8: gates.agreement: the recipe has no teacher. "
        "Add teacher:, or compare with vs: student.",
        "recipe.yaml:9: gates.speedup: the recipe has no teacher. "
        "Add teacher:, or compare with over: student.",
    ]


def test_neither_teacher_nor_student(folder: Path) -> None:
    assert problems(folder, "name: demo\ndata: {source: model.py:load}\n") == [
        "recipe.yaml: student: missing. Add student: {model: file.py:callable}; it is what ships."
    ]


def test_an_option_of_another_target(folder: Path) -> None:
    having = [
        name
        for name, spec in TARGETS.items()
        if "compute_capability" in {field.name for field in fields(spec.options)}
    ]
    own = [field.name for field in fields(TARGETS["openvino"].options)]
    verb = "has" if len(having) == 1 else "have"
    text = changed("[onnxruntime]", "[onnxruntime, {target: openvino, compute_capability: [8.6]}]")
    assert problems(folder, text) == [
        "recipe.yaml:7: targets[1].compute_capability: openvino has no such option, "
        f"{' and '.join(having)} {verb}. "
        f"Allowed keys: {', '.join(['target', 'precision', 'verify', *own])}."
    ]


def test_a_model_without_weights_whose_file_is_missing_has_two_problems(folder: Path) -> None:
    text = changed("model.py:teacher", "modell.py:teacher").replace(", train: {}}", "}")
    missing, weights = sorted(problems(folder, text))
    assert weights.startswith("recipe.yaml:3: teacher: nothing gives it trained weights. Add train")
    assert missing == (
        "recipe.yaml:3: teacher.model: there is no file modell.py. Did you mean model.py?"
    )


def test_all_problems_are_told_at_once_in_the_order_of_their_lines(folder: Path) -> None:
    text = """\
# a comment
name: demo

seed: -1
data:
  source: model.py:load
  split:
    train: 0.9
    test: 0.9
teacher:
  model: model.py:teacher
  train:
    epochs: ten
student: {model: modl.py:student}
distill:
  losses:
    - ce:
        weight: 0.1
    - kd:
        temprature: 4
targets:
  - target: openvino
    precision: [fp32,
                int4]
  - onxruntime
gates:
  speedup:
    over: teacher
    at_least: 2
"""
    found = problems(folder, text, ["threads=0"])
    assert [problem.split(": ")[:2] for problem in found] == [
        ["recipe.yaml:4", "seed"],
        ["recipe.yaml:7", "data.split"],
        ["recipe.yaml:13", "teacher.train.epochs"],
        ["recipe.yaml:14", "student.model"],
        ["recipe.yaml:20", "distill.losses[1].kd.temprature"],
        ["recipe.yaml:23", "targets[0].precision"],
        ["recipe.yaml:25", "targets[1].target"],
        ["recipe.yaml:29", "gates.speedup.at_least"],
        ["--set threads=0", "threads"],
    ]


def test_the_problems_of_a_chain_are_told_at_once(folder: Path) -> None:
    chain = """\
assistants:
  - {model: modl.py:student}
  - from: teacher
    width: 2
    distill:
      losses: [kdd]
      stages: [{epochs: 0}]
distill:
  stages:
    - {losses: []}
    - {onli: [body]}
"""
    found = problems(folder, changed("distill: {}\n", chain))
    assert [problem.split(": ")[:2] for problem in found] == [
        ["recipe.yaml:6", "assistants[0].model"],
        ["recipe.yaml:8", "assistants[1].width"],
        ["recipe.yaml:10", "assistants[1].distill.losses[0]"],
        ["recipe.yaml:11", "assistants[1].distill.stages[0].epochs"],
        ["recipe.yaml:14", "distill.stages[0].losses"],
        ["recipe.yaml:15", "distill.stages[1].onli"],
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "distill.epochs=ten",
            "distill.epochs: found 'ten'. Expected a whole number above 0.",
        ),
        (
            "distill={epochs: 0}",
            "distill.epochs: found 0. Expected a whole number above 0.",
        ),
        ("distil.epochs=5", f"distil: unknown key. Did you mean distill? {TOP}"),
        ("targets.1=openvino", "targets has no entry 1: it has 1, counted from 0"),
        ("targets.first=openvino", "targets has no entry first: it has 1, counted from 0"),
        ("name.first=x", "name has no keys of its own: it is 'demo'"),
        ("seed=[", "not YAML: a '[' or '{' that is not closed."),
        (
            "seed",
            "not a key with a value. Write it as --set key.path=value, such as "
            "--set distill.epochs=5, or --set quantize=null to take a key out.",
        ),
        (
            "seed=",
            "not a key with a value. Write it as --set key.path=value, such as "
            "--set distill.epochs=5, or --set quantize=null to take a key out.",
        ),
    ],
)
def test_the_words_about_an_override(folder: Path, override: str, message: str) -> None:
    (folder / "recipe.yaml").write_text(RECIPE)
    with pytest.raises(UsageError) as raised:
        load_recipe("recipe.yaml", [override])
    assert str(raised.value) == f"--set {override}: {message}"


def test_a_file_that_is_not_text(folder: Path) -> None:
    (folder / "recipe.yaml").write_bytes(b"name: demo\nseed: \xff\n")
    with pytest.raises(RecipeError) as raised:
        load_recipe("recipe.yaml")
    assert str(raised.value) == "recipe.yaml:2: not UTF-8: byte 0xff"


def test_a_model_file_that_is_not_python(folder: Path) -> None:
    (folder / "broken.py").write_text("def student(:\n")
    text = changed("model.py:student", "broken.py:student")
    assert problems(folder, text) == [
        "recipe.yaml:4: student.model: broken.py is not Python: line 1, invalid syntax"
    ]


@pytest.mark.parametrize("name", ["edgestill", "email"])
def test_a_folder_without_code_hides_no_package_of_its_name(folder: Path, name: str) -> None:
    """As one does that the repository was cloned into."""
    (folder / name).mkdir()
    module = {"edgestill": "edgestill.models.digits:student", "email": "email.message:Message"}
    (folder / "recipe.yaml").write_text(changed("model.py:student", module[name]))
    loaded = load_recipe("recipe.yaml")
    assert loaded.student is not None and loaded.student.model == module[name]


def test_a_package_beside_the_recipe_hides_an_installed_one(folder: Path) -> None:
    (folder / "email").mkdir()
    (folder / "email" / "__init__.py").touch()
    (folder / "email" / "message.py").write_text("def student(): ...\n")
    found = problems(folder, changed("model.py:student", "email.message:Message"))
    assert found == [
        "recipe.yaml:4: student.model: there is no 'Message' in email.message. It has: student."
    ]


def test_names_that_only_running_the_code_would_show_are_left_alone(folder: Path) -> None:
    for index, code in enumerate(
        ["from os.path import *", "try:\n  student = 1\nexcept ValueError: pass",
         "if True:\n  def student(): ...", "import os as student",
         "def __getattr__(name): ...", "a, (student, b) = 1, (2, 3)"]
    ):  # fmt: skip
        (folder / f"net{index}.py").write_text(code)
        text = changed("model.py:student", f"net{index}.py:student")
        (folder / "recipe.yaml").write_text(text)
        assert load_recipe("recipe.yaml").student is not None
