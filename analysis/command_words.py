"""A Spec from the words of a command line, and an answer as its lines."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from analysis.lens import find_lens, known_lenses, report_lenses
from analysis.option import read_options
from analysis.pipeline import Answer
from analysis.spec import Spec, from_code
from capture.errors import UserError
from capture.faithfulness import Faithfulness
from capture.models import catalogue


def spec_of_words(
    lens: str | None,
    model: str,
    text: str | None,
    text_file: Path | None,
    text_set: str | None,
    bos: bool,
    dtype: str,
    arguments: Sequence[str],
) -> Spec:
    """The Spec that a lens, one of the texts and the lens's own flags ask for."""
    one_text = _one_text(lens, text, text_file, text_set)
    found = find_lens(lens or "")
    options = read_options(found.options, flag_values(arguments))
    return Spec(found.slug, model, one_text, text_set or "", bos, dtype, options=options)


def spec_of_view(view: str) -> Spec:
    """The Spec of a view's code, or of an address that has one as `?view=`."""
    query = parse_qs(urlsplit(view).query) if "view=" in view else {}
    return from_code(query.get("view", [view])[0])


def flag_values(arguments: Sequence[str]) -> dict[str, str]:
    """`--name value`, `--name=value`, or `--name` alone for true, by name with _ for -."""
    values: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        flag, has_value, value = rest.pop(0).partition("=")
        if not flag.startswith("--") or len(flag) == 2:
            raise UserError(f"An option begins with --; {flag[:40]!r} was given.", "Put a text with spaces in quotes.")
        if not has_value:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        values[flag[2:].replace("-", "_")] = value
    return values


def _one_text(lens: str | None, text: str | None, text_file: Path | None, text_set: str | None) -> str:
    given = [one for one in (text, text_file, text_set) if one is not None]
    if lens in report_lenses() and given:
        raise UserError(f"{lens} looks at other views; {str(given[0])[:40]!r} was given.", "Leave the text out.")
    if lens not in report_lenses() and len(given) != 1:
        hint = "Use one of --text, --text-file, --text-set."
        raise UserError(f"One text must be given; {len(given)} were given.", hint)
    if text_file is None:
        return text or ""
    try:
        return text_file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{text_file} cannot be read: {error}.", "Give a text file in UTF-8.") from error


def answer_lines(answer: Answer) -> list[str]:
    """Findings, then one line on the model, the source and the digest of the numbers."""
    report = answer.report
    facts = f"{report.facts['model']} {report.facts['fingerprint']}, {report.facts['n_tokens']:,} tokens"
    last = f"{facts}, {answer.source}; numbers {report.digest()}"
    return [*(finding.sentence for finding in report.findings), last]


def faithfulness_words(name: str, found: Faithfulness) -> str:
    """What the check of a model found, in lines."""
    lines = [
        f"{name}: {found.status}, compared with the plain transformers forward on {found.n_tokens} tokens",
        f"largest logit difference  {found.logit_max_diff:.2g}",
        f"KL                        {found.kl_nats:.2g} nats",
        f"identities of the stream  {found.identity_max_diff:.2g}",
        f"lowest cosine of a layer  {min(found.cosine_by_layer):.6f}",
    ]
    return "\n".join(lines)


def lens_lines() -> list[str]:
    """The lenses with their options as flags."""
    lines = []
    for lens in known_lenses().values():
        lines.append(f"{lens.slug}: {lens.question}")
        for option in lens.options:
            allowed = " | ".join(option.choices) or f"{option.default}" or "TEXT"
            default = f"  (default {option.default})" if option.default != "" else ""
            lines.append(f"  --{option.name.replace('_', '-')} {allowed}{default}  {option.help}")
    return lines


def model_lines() -> list[str]:
    """The bundled models, and what can be given in their place."""
    cards = [f"{card.name}: {card.title}, {card.n_params:,} parameters. {card.note}" for card in catalogue()]
    return [*cards, "Any transformers folder, or the name of a model on the hub, can be given as --model."]
