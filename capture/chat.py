"""A text as a message of a conversation, in the words of a model's chat template."""

from collections.abc import Sequence
from typing import Any

from capture.errors import UserError


def chat_prompt(tokenizer: Any, tokens: Sequence[int], name: str) -> tuple[int, ...]:
    """Token ids of the tokens' text as a user's message, and of what stands before the answer.

    A BOS token before the text is left out: the template says where there is one. Raises UserError where the tokenizer
    of the model called `name` has no template.
    """
    if not tokenizer.chat_template:
        raise UserError(f"{name} has no chat template: it was not made to answer messages.", "Choose completion.")
    own = tokens[1:] if tokens and tokens[0] == tokenizer.bos_token_id else tokens
    text = tokenizer.decode(own, clean_up_tokenization_spaces=False)
    message = [{"role": "user", "content": text}]
    said = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    return tuple(tokenizer(said, add_special_tokens=False, verbose=False)["input_ids"])
