"""The few rules of style that the theme in .streamlit/config.toml has no field for."""

STYLE = """
<style>
[data-testid="stSidebarHeader"] { height: 2.5rem; margin-bottom: 0; }
[data-testid="stMainBlockContainer"] { padding: 2.5rem 2rem 2rem; max-width: 1480px; }
[data-testid="stSidebarUserContent"] { padding-top: 0; }
/* Progress stays in sight while a long page is read. */
div:has(> .st-key-steerscope-status) { position: sticky; top: 0.5rem; z-index: 50; }
.st-key-steerscope-status:not(:empty) { backdrop-filter: blur(12px); border-radius: 6px; }
@media (max-width: 640px) { [data-testid="stMainBlockContainer"] { padding: 3rem 1rem 1rem; } }
</style>
"""
