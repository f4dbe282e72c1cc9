"""The commands of a finished student: `export` makes a folder to ship, `predict` asks the student."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from contract.console import (
    ArtifactsOption,
    JsonOption,
    MapOption,
    RestartOption,
    answer,
    make_app,
    plain,
    print_json,
    progress_shown,
    read_map,
    screen,
    store_at,
)
from contract.errors import BadInput

if TYPE_CHECKING:
    from contract.rows import BadRow, OnBadRow
    from distill.shipping.forms import FormName, Heard
    from distill.shipping.prediction import Prediction, Predictor

shipping_app = make_app("shipping", "Ship finished students, and ask them.")

OnnxOption = Annotated[bool, typer.Option("--onnx", help="Ask the exported ONNX form, in float32.")]
Int8Option = Annotated[bool, typer.Option("--int8", help="Ask the exported ONNX form, in int8.")]


@shipping_app.command("export")
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's name.")],
    to: Annotated[Path | None, typer.Option("--to", help="The folder to write (default: exports/RUN)")] = None,
    task: Annotated[Path | None, typer.Option("--task", help="Where the run's task lies now.")] = None,
    no_onnx: Annotated[bool, typer.Option("--no-onnx", help="The Hugging Face directory and the card alone.")] = False,
    no_int8: Annotated[bool, typer.Option("--no-int8", help="No int8 form.")] = False,
    int8_loss: Annotated[
        float, typer.Option("--int8-loss", min=0, max=100, help="Points int8 may lose of the metric that decides.")
    ] = 0.5,
    licenses: Annotated[
        list[str] | None,
        typer.Option("--license", help="PART=LICENCE, PART being student, teacher, task or corpus; repeatable."),
    ] = None,
    artifacts: ArtifactsOption = None,
    restart: RestartOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a folder to ship: the student for transformers and as ONNX, checked, timed, and with a model card."""
    from distill.shipping.card import measured_how, table_of
    from distill.shipping.export import ExportOptions, export_run
    from distill.shipping.forms import FORMS
    from distill.shipping.lineage import read_licences
    from distill.shipping.outcome import export_to_json, read_export

    forms = FORMS[:1] if no_onnx else FORMS[:2] if no_int8 else FORMS
    options = ExportOptions(forms, int8_loss / 100, task, read_licences(licenses or []))
    with progress_shown() as progress:
        made = export_run(store_at(artifacts), run, options, to=to, progress=progress, restart=restart)
    found = read_export(made.directory)
    if as_json:
        print_json({"id": made.id, "directory": str(made.directory), "export": export_to_json(found)})
        return
    heading, *rows = table_of(found)
    table = Table(box=None, pad_edge=False)
    for column, *cells in zip(heading, *rows, strict=True):  # a narrow terminal folds headings, never a number
        width = max(map(len, cells))
        side: Literal["left", "right"] = "left" if column == heading[0] else "right"
        table.add_column(column, justify=side, min_width=width, no_wrap=width >= len(column))
    for row in rows:
        table.add_row(*row)
    answer.print(table, highlight=False)
    answer.print(measured_how(found), markup=False, highlight=False, soft_wrap=True)
    answer.print(f"folder: {made.directory}", markup=False, highlight=False, soft_wrap=True)


@shipping_app.command("predict")
def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's name, or an exported folder: ./FOLDER.")],
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts to ask about.")] = None,
    pairs: Annotated[
        list[str] | None, typer.Option("--pair", help="The second sentence of a pair; one for each text.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Ask about every row: .txt, .jsonl, .csv, .parquet …, packed or not.")
    ] = None,
    columns: MapOption = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Tell of bad rows of the file, and go on with the others.")
    ] = False,
    onnx: OnnxOption = False,
    int8: Int8Option = False,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=0, max=1, help="Below this probability a text is out of scope."),
    ] = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask a student: the label of each text with its probability, its slots, its amount, or that it is out of scope."""
    asked = _asked(texts or [], pairs or [], file)
    form: FormName | None = _form(onnx, int8)
    from distill.shipping.prediction import open_predictor

    predictor = open_predictor(store_at(artifacts), run, form, threshold=threshold)
    if file is None:
        for heard, said in zip(asked, predictor.predict(asked), strict=True):
            _say(None, heard, said, as_json)
        return
    told = _BadRows(skip_bad_rows)
    said_of = _predict_file(predictor, file, read_map(columns), told, as_json)
    if told.count:
        screen.print(f"{said_of:,} rows answered, {told.count:,} bad ones left out", highlight=False)


def _asked(texts: Sequence[str], pairs: Sequence[str], file: Path | None) -> list[Heard]:
    """The texts of the command line; BadInput when there are none, or not as many pairs."""
    from distill.shipping.forms import Heard

    if (file is None) == (not texts):
        found = "both" if texts else "neither"
        raise BadInput(f'expected texts or --file, found {found}; as in: transferset predict RUN "a text"')
    if pairs and len(pairs) != len(texts):
        raise BadInput(
            f"expected one --pair for each text, found {len(pairs)} for {len(texts)} texts; "
            "in a file, pairs stand in the column text_pair"
        )
    if not pairs:
        return [Heard(text) for text in texts]
    return [Heard(text, pair) for text, pair in zip(texts, pairs, strict=True)]


def _form(onnx: bool, int8: bool) -> FormName | None:
    if onnx and int8:
        raise BadInput("--onnx and --int8 are two forms of one student; ask one of them")
    return "onnx" if onnx else "int8" if int8 else None


class _BadRows:
    """Tells of every bad row, as it comes; the first ends it all unless they are to be left out."""

    def __init__(self, skip: bool) -> None:
        self._skip = skip
        self.count = 0

    def __call__(self, bad: BadRow) -> None:
        from contract.rows import refuse_bad_rows

        if not self._skip:
            refuse_bad_rows(bad)
        self.count += 1
        screen.print(plain(str(bad)), markup=False, highlight=False, soft_wrap=True)


def _predict_file(
    predictor: Predictor, file: Path, columns: dict[str, str], on_bad_row: OnBadRow, as_json: bool
) -> int:
    """Answer row by row, as the file is read."""
    from distill.shipping.prediction import read_file

    answered = 0
    for rows in read_file(file, predictor.meaning, columns=columns, on_bad_row=on_bad_row):
        said = predictor.predict([heard for _, heard in rows])
        for (row, heard), each in zip(rows, said, strict=True):
            _say(row, heard, each, as_json)
        answered += len(rows)
    return answered


def _say(row: str | int | None, heard: Heard, said: Prediction, as_json: bool) -> None:
    """One text's answer: a JSON line, or lines for people."""
    if as_json:
        of_row = {"row": row} if isinstance(row, int) else {"id": row} if row is not None else {"text": heard.text}
        print_json({**of_row, **said.to_json()})
        return
    typer.echo(plain("  ".join([*_words(said), heard.text])))
    for slot in said.slots or ():
        typer.echo(plain(f"  {slot.kind}: {slot.text}"))


def _words(said: Prediction) -> list[str]:
    if said.amount is not None:
        return [f"{said.amount:.3f}"]
    if said.nearest is None or said.probability is None:
        return []
    share = f"{100 * said.probability:.1f} %"
    return [f"out of scope (nearest {said.nearest}, {share})"] if said.out_of_scope else [said.nearest, share]
