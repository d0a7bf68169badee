"""Steerscope in the browser: navigation and theme."""

import streamlit as st

from ui.shell import pages
from ui.style import STYLE

st.set_page_config(page_title="Steerscope", layout="wide", initial_sidebar_state="auto")
st.html(STYLE)
st.navigation(list(pages().values()), position="hidden").run()
