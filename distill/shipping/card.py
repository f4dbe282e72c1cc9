"""The model card: README.md of an exported folder, what a stranger must know before using the student."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from distill.judging.metrics import METRICS, METRICS_OF
from distill.reporting.figures import MISSING, count, factor, listed, milliseconds, percent, size
from distill.reporting.outcome import RunReport, report_to_json
from distill.shipping.forms import FILE_OF, TITLES, FormName
from distill.shipping.lineage import LICENSED
from distill.shipping.meaning import KEPT_IN_SCOPE, Meaning
from distill.shipping.outcome import Export

CARD = "README.md"
CLASSES_SHOWN = 40
_SHOWN: tuple[FormName, ...] = ("int8", "onnx")  # by onnxruntime, the first that is there
_NOT_SAID = "not said"
_OF_TOKENS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}  # in tokenizers


def write_card(export: Export, report: RunReport, meaning: Meaning) -> str:
    """The card, in Markdown, with the fields that model hubs read at its head."""
    parts = [
        *_fields(export, meaning),
        f"# {_cell(export.run)}",
        _summary(report),
        "## Use it",
        *_use(export, meaning),
        "## How good it is",
        *_scores(report),
        "## Forms",
        *_forms(export),
        "## Intended use and limits",
        *_limits(report, meaning),
        "## Where it comes from",
        *_lineage(export, report),
        "## Licences",
        *_licences(export),
        "## Settings",
        *_settings(report),
    ]
    return "\n\n".join(parts) + "\n"


def table_of(export: Export) -> list[tuple[str, ...]]:
    """The forms as rows of text, heading first: for the card and for the terminal alike."""
    metric = METRICS[export.decides]
    rows: list[tuple[str, ...]] = [("Form", "MB", metric.title, "p50", "p99", "Teacher ÷ p50")]
    for name, title, facts in export.rows:
        ratio = export.faster(name)
        rows.append(
            (
                title,
                f"{facts.megabytes:.1f}",
                metric.text(facts.metrics.get(export.decides)),
                milliseconds(facts.latency.p50),
                milliseconds(facts.latency.p99),
                MISSING if ratio is None else factor(ratio),
            )
        )
    return rows


def measured_how(export: Export) -> str:
    """What the numbers of the table are."""
    return (
        f"{METRICS[export.decides].title} on all {count(export.test_rows)} test rows. Milliseconds a text from its "
        f"characters to its logits, batch 1, one thread, {count(export.timed_texts)} test texts in turns with the "
        f"others, on {export.processor}."
    )


def _fields(export: Export, meaning: Meaning) -> list[str]:
    lines = ["---", f"license: {export.licences.get('student', 'other')}"]
    if export.languages:
        lines += ["language:", *(f"- {lang}" for lang in export.languages)]
    lines += [
        f"library_name: {'transformers' if export.opened_by_transformers else 'onnx'}",
        f"pipeline_tag: {'token' if meaning.tags else 'text'}-classification",
        "tags:",
        "- distillation",
        "- transferset",
        "---",
    ]
    return ["\n".join(lines)]


def _summary(report: RunReport) -> str:
    student, chosen = report.student, report.transfer_set
    learned = (
        f"distilled from {_cell(report.teacher.model)} on a {_cell(report.arm)} transfer set "
        f"({count(chosen.texts)} texts, {100 * chosen.generic_share:.0f} % generic), then finetuned on its gold labels"
        if chosen
        else "finetuned on the task’s gold labels without distillation"
    )
    return (
        f"A student of {student.layers} layers × {student.width} ({size(student.parameters)} parameters) for "
        f"{_says(report)} of {_cell(report.task.name)}, {learned}. Made by Transferset."
    )


def _says(report: RunReport) -> str:
    task = report.task
    classes = f"{task.target} ({count(task.classes)} classes)"
    said = {
        "regression": f"the amount {task.target}",
        "slots": "slots (BIO)",
        "joint": f"{classes} and slots (BIO)",
        "out-of-scope": f"{classes} and what is out of scope",
    }
    return said.get(task.kind, classes)


def _use(export: Export, meaning: Meaning) -> list[str]:
    text = "the first sentence" if meaning.pairs else "what do you want to know"
    asked = f'{{"text": "{text}", "text_pair": "the second one"}}' if meaning.pairs else f'"{text}"'
    task = "token-classification" if meaning.tags else "text-classification"
    option = ', function_to_apply="none"' if meaning.kind == "regression" else ""
    said = ["Plain transformers does not know static embeddings as a model; its tokenizer opens there."]
    if export.opened_by_transformers:
        said = [
            "In this folder, with transformers:",
            _code(
                "python",
                "from transformers import pipeline",
                f'student = pipeline("{task}", model=".")',
                f"print(student({asked}{option}))",
            ),
        ]
    if meaning.kind == "joint":
        said.append(
            "The sentence’s class is a second head, `sentence_head.safetensors`: a linear layer (`weight`, `bias`) on "
            "the last hidden state of the first token; `config.json` names its classes as `sentence_labels`."
        )
    form: FormName | None = next((name for name in _SHOWN if name in export.forms), None)
    if form:
        fed = ", ".join(f'"{name}": numpy.array([text.{_OF_TOKENS[name]}])' for name in export.inputs)
        file, given = FILE_OF[form], f'"{text}", "the second one"' if meaning.pairs else f'"{text}"'
        said += [
            "With onnxruntime, without torch:",
            _code(
                "python",
                "import numpy, onnxruntime, tokenizers",
                f'text, model = tokenizers.Tokenizer.from_file("tokenizer.json").encode({given}), '
                f'onnxruntime.InferenceSession("{file}")',
                f"print(model.run(None, {{{fed}}}))",
            ),
            f"`meaning.json` names the outputs’ classes and tags, and how many tokens of a text are read "
            f"({meaning.max_length}). Give int8 one text at a time: it rounds by the range of a whole batch.",
        ]
    flag = " --int8" if form == "int8" else ""
    pair = ' --pair "the second one"' if meaning.pairs else ""
    said += ["With Transferset:", _code("sh", f'transferset predict ./{flag} "{text}"{pair}')]
    return said


def _scores(report: RunReport) -> list[str]:
    rows: list[tuple[str, ...]] = [("Metric", "Student", "95 % interval", "Teacher", "Formula")]
    for name in METRICS_OF[report.task.kind]:
        if name not in report.metrics.finetuned:
            continue
        metric, interval = METRICS[name], report.metrics.intervals.get(name)
        rows.append(
            (
                metric.title,
                metric.text(report.metrics.finetuned[name]),
                " to ".join(map(metric.text, interval)) if interval else MISSING,
                metric.text(report.teacher.metrics.get(name)),
                metric.formula,
            )
        )
    task = report.task
    where = (
        f"On {count(task.test_rows)} rows of split {_cell(task.test_split)}, never trained on. The interval is a "
        "bootstrap over test rows: how far other rows would move the score."
    )
    by_language = [
        f"{each.lang or _NOT_SAID} {METRICS[METRICS_OF[task.kind][0]].text(each.student)}"
        for each in report.metrics.by_language
    ]
    return [_table(rows), where, *([f"By language: {', '.join(by_language)}."] if by_language else [])]


def _forms(export: Export) -> list[str]:
    said = [_table(table_of(export)), measured_how(export)]
    if "onnx" in export.forms:
        said.append(
            f"{TITLES['onnx']} logits differ from torch’s by {export.forms['onnx'].distance:.1e} at most on the test "
            "texts; the export is refused beyond 1e-4."
        )
    return said


def _limits(report: RunReport, meaning: Meaning) -> list[str]:
    task = report.task
    said = [
        f"For texts like those of {_cell(task.name)}: it says {_says(report)}, and nothing else. Its errors follow its "
        "teacher’s, and the corpus its transfer set was drawn from. It reads the first "
        f"{meaning.max_length} tokens of a text.",
    ]
    if meaning.threshold is not None:
        said.append(
            f"A text whose highest probability is below {meaning.threshold:.4f} is out of scope: {_chosen(report)}. "
            "Choose your own where the two errors cost otherwise."
        )
    elif meaning.classes:
        said.append("It always names one of its classes, also for a text that is of none of them.")
    if meaning.classes:
        shown = [f"`{_cell(name)}`" for name in meaning.classes[:CLASSES_SHOWN]]
        more = len(meaning.classes) - len(shown)
        said.append("Classes: " + (f"{', '.join(shown)} and {more:,} more" if more else listed(shown)) + ".")
    return said


def _chosen(report: RunReport) -> str:
    """How the threshold was chosen, and what it does."""
    found = report.threshold
    if found is None:
        return f"the threshold at which {percent(KEPT_IN_SCOPE)} of the test rows in scope stay"
    return (
        f"the threshold that parts the two best on split {_cell(found.split)}, both counted alike. On the test "
        f"{percent(found.in_scope)} of the rows in scope stay and {percent(found.out_of_scope)} of those out of it are "
        "caught"
    )


def _lineage(export: Export, report: RunReport) -> list[str]:
    notes = {"run": report.arm, "task": report.task.name, "teacher": report.teacher.model}
    rows: list[tuple[str, ...]] = [("What", "Name", "Id", "")]
    rows += [
        (each.kind, each.name or notes.get(each.kind, "not in this store"), f"`{each.id}`", notes.get(each.kind, ""))
        for each in export.lineage
    ]
    return [_table(rows), "An id is the hash of the content: the same inputs, settings and seed give it again."]


def _licences(export: Export) -> list[str]:
    rows = [("Of", "Licence"), *((part, export.licences.get(part, _NOT_SAID)) for part in LICENSED)]
    return [_table(rows), "What is not said here must be looked up before the student is passed on."]


def _settings(report: RunReport) -> list[str]:
    settings = dict(report_to_json(report)["settings"])
    settings["task"] = {key: value for key, value in settings["task"].items() if key != "path"}
    return [_code("json", json.dumps(settings, ensure_ascii=False, indent=1))]


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ([_cell(cell) if "`" not in cell else cell for cell in row] for row in rows)
    return "\n".join(_line(row) for row in (head, ["---"] * len(head), *body))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _code(language: str, *lines: str) -> str:
    return "\n".join([f"```{language}", *lines, "```"])


def _cell(text: str) -> str:
    """Text that Markdown shows as it is: on one line, no table, code or HTML of its own."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("|", "\\|").replace("`", "ʼ").replace("<", "‹").replace(">", "›")
