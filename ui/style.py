"""The few rules of style that the theme in .streamlit/config.toml has no field for."""

STYLE = """
<style>
[data-testid="stSidebarHeader"] { height: 2.5rem; margin-bottom: 0; }
[data-testid="stMainBlockContainer"] { padding: 2.5rem 2rem 2rem; max-width: 1480px; }
[data-testid="stSidebarUserContent"] { padding-top: 0; }
@media (max-width: 640px) { [data-testid="stMainBlockContainer"] { padding: 3rem 1rem 1rem; } }
</style>
"""
