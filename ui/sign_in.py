"""Optional sign-in by Streamlit's own OpenID Connect, and what is said where there is none and others may reach us."""

import ipaddress
import logging

import streamlit as st

from ui.words import plain

LOG = logging.getLogger("steerscope")
OPEN_TO_OTHERS = (
    "This server listens on {address}, beyond this machine, and asks nobody who they are: whoever reaches it can use "
    "the models, the store and the jobs. Start it on 127.0.0.1, or configure sign-in."
)


def has_sign_in() -> bool:
    """Whether `.streamlit/secrets.toml` configures [auth]."""
    return st.secrets.load_if_toml_exists() and bool(st.secrets.get("auth"))


def signed_in_name() -> str:
    """The subject of the person who signed in, which no one else has; "" without sign-in."""
    if not has_sign_in() or not st.user.is_logged_in:
        return ""
    return str(st.user.get("sub") or st.user.get("email") or "")


def may_enter() -> bool:
    """Whether this person may see the app; where not, the way to sign in is drawn instead."""
    if not has_sign_in() or st.user.is_logged_in:
        return True
    st.title("Steerscope", anchor=False)
    st.markdown("See what a language model's activations do on a text. This server asks who you are.")
    st.button("Sign in", type="primary", on_click=st.login)
    return False


def draw_person() -> None:
    """Who is signed in, and the way out; where nobody can be and others may reach the server, a caution."""
    if has_sign_in():
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.caption(plain(str(st.user.get("name") or st.user.get("email") or "signed in")), width="content")
            st.button("Sign out", type="tertiary", on_click=st.logout)
    elif not is_loopback(address := bound_address()):
        _log_once(address)
        st.caption(f":orange[:material/warning:] {plain(OPEN_TO_OTHERS.format(address=address))}")


def bound_address() -> str:
    """The address that the server listens on; every one of the machine's where none is set."""
    return str(st.get_option("server.address") or "0.0.0.0")


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a server on that address."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


@st.cache_resource(show_spinner=False)
def _log_once(address: str) -> None:
    LOG.warning(OPEN_TO_OTHERS.format(address=address))
