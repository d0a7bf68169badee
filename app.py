"""Steerscope in the browser: navigation and theme."""

import streamlit as st

from ui.people import draw_own
from ui.shell import pages
from ui.sign_in import may_enter
from ui.style import STYLE

st.set_page_config(page_title="Steerscope", layout="wide", initial_sidebar_state="auto")
st.html(STYLE)
if may_enter():
    found = pages()
    st.navigation(list(found.values()), position="hidden").run()
    draw_own(found)
