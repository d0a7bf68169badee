"""`python cli.py sparsity-law`: the law of a training run as a table, without a browser."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

# Modules that load torch are imported inside the command, so that --help answers at once.
Model = Annotated[str, typer.Argument(help="Bundled name, or a folder with checkpoints such as at-4M in it.")]


def sparsity_law(
    model: Model = "stories",
    text_set: Annotated[str, typer.Option(help="A named text set, such as tour or stories.")] = "tour",
    p: Annotated[float, typer.Option(help="Budget: how many percent perplexity may rise.")] = 1.0,
    bos: Annotated[bool, typer.Option("--bos/--no-bos", help="Begin each text with the BOS token.")] = True,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Number format of the forward pass.")] = (
        "float32"
    ),
    out: Annotated[Path | None, typer.Option(help="File to write the Report to.")] = None,
) -> None:
    """Measure the share of active neurons at each checkpoint of a model, and fit the law of its activation to them."""
    from analysis import pipeline
    from analysis.spec import Spec
    from capture.models import load_session
    from capture.written_file import write_file

    spec = Spec("sparsity_law", model, text_set=text_set, bos=bos, dtype=dtype, options={"p": p})
    report = pipeline.run(spec, load_session, None).report
    typer.echo("\n".join(law_lines(report.numbers)))
    if out is not None:
        write_file(out, report.to_json().encode())
        typer.echo(f"Report written to {out}")


def law_lines(numbers: Mapping[str, Any]) -> list[str]:
    """A Report of the law in lines: its points, its parameters, and what they say."""
    lines = [f"{'checkpoint':32}{'tokens':>16}{'active':>9}{'loss':>9}{'lost':>9}  nats a token"]
    lines += [
        f"{one['name']:32}{one['tokens']:>16,}{100 * one['ratio']:>8.2f}%{one['loss_dense']:>9.4f}"
        f"{one['delta_loss_nats']:>9.4f}{'  CETT found here' if one['is_joint'] else ''}"
        for one in numbers["points"]
    ]
    lines.append(f"{numbers['formula']}, D in billions of tokens; CETT {numbers['cett']:.6f} at p = {numbers['p']:g} %")
    for one in (numbers["fit"] or {"parameters": []})["parameters"]:
        interval = f"{one['interval'][0]:.4g} to {one['interval'][1]:.4g}" if one["interval"] else "not identified"
        lines.append(f"{one['name']:>8} {one['value']:>12.4g}  {interval}")
    return [*lines, numbers["trend"], numbers["sentence"]]
