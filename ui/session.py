"""Session: what one browser session holds."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analysis.spec import Spec
from capture.errors import UserError

if TYPE_CHECKING:
    from analysis.view_file import ViewFile
    from ui.job import Followed, Job
    from ui.store_sql import Question


@dataclass
class Session:
    """One browser session; changed only by the functions of `ui.state`."""

    asked: Spec
    shown: Spec | None = None
    kept: "ViewFile | None" = None
    """The kept view that is asked for; None where the Spec is to be run."""
    shown_kept: "ViewFile | None" = None
    written: dict[str, str] = field(default_factory=dict)
    """What this session put into the address last."""
    has_changed: bool = False
    """Whether a widget spoke since the address was written; then the address is the older of the two."""
    is_page_stale: bool = False
    """Whether a part of the page pinned what other parts show: it is to be drawn again as a whole."""
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    subject: dict[str, Any] = field(default_factory=dict)
    """Model, text and how it is run, as the last page of a text had them."""
    answers: OrderedDict[str, Any] = field(default_factory=OrderedDict)
    last_good: dict[str, str] = field(default_factory=dict)
    """The key of the last answer by page: the view that stays when the next one cannot be had."""
    is_of_one_text: bool = True
    """Whether the open page is; the views that others are made of decide their fingerprint instead of a model."""
    n_opened: int = 0
    """How many view files were opened."""
    job: "Job | Followed | None" = None
    query: "Question | None" = None
    """The SQL that was asked last, and its answer."""
    bad_link: UserError | None = None
    caution: str = ""
    wants_other_model: bool = False
    is_idle: bool = False
    """Whether a person cancelled before this page had anything to show."""
    visitor: str = field(default_factory=lambda: secrets.token_hex(16))
    """Whose jobs these are where nobody signs in; replaced by the id that the browser kept from earlier."""
    told: set[str] | None = None
    """Ended jobs that need no notice any more; None before the first look."""
    drafts: dict[str, str] = field(default_factory=dict)
    """What was typed into a box of the steering lab and could not be read, by the box."""
    recent: list[Spec] = field(default_factory=list)
