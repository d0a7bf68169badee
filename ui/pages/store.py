"""Store & jobs: what is kept and what it costs, questions to it in SQL, the SAEs, and what runs."""

from typing import TYPE_CHECKING

import streamlit as st

from ui.boundary import boundary
from ui.job_forms import train_form
from ui.job_list import jobs
from ui.kernel_panel import kernels
from ui.sae_form import train_sae_form
from ui.sae_shelf import draw_shelf
from ui.store_panels import kept, kept_views, room, savings
from ui.store_sql import sql_box

if TYPE_CHECKING:
    from ui.shell import Context

TITLE = "Store & jobs"
QUESTION = "What is kept on this machine, what does it cost, and what is running?"
IS_OF_ONE_TEXT = False
KEPT, ASK, SAES, JOBS = "Kept", "SQL", "SAEs", "Jobs"


def draw(context: "Context") -> None:
    """What is kept, a box for SQL, the SAEs, the jobs; a link with SQL opens at the box."""
    is_asked = bool(context.spec.options.get("sql"))
    kept_tab, sql_tab, saes_tab, jobs_tab = st.tabs([KEPT, ASK, SAES, JOBS], default=ASK if is_asked else KEPT)
    with kept_tab, boundary("looking into the store"):
        room()
        kept()
        kept_views(context.pages)
        savings()
    with sql_tab, boundary("asking the store"):
        sql_box(context.spec)
    with saes_tab, boundary("looking at the SAEs"):
        draw_shelf()
    with jobs_tab, boundary("looking at the jobs"):
        jobs()
        train_sae_form()
        train_form()
        kernels()
