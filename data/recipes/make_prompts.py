"""Prompts for a controller: beginnings of stories that turn sad, and as many that do not; our own texts.

1. Most are made from templates: a setup and a turn. Of those that do not turn sad a third are happy, a third neutral,
   and a third hard: they have the words of sadness, and are not sad.
2. The set to learn from has the sentences of data/labels/feelings.csv and of every second pair of happy_sad as well.
3. The set held out has setups, turns, names, pets and things of its own, so that what is measured is no memory of the
   templates.
"""

import csv
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

DATA = Path(__file__).resolve().parents[1]
SAD, OTHER = "sad", "other"

SETUPS = {
    "fit": (
        "{name} lived in a small house near the {place}.",
        "One morning {name} went to the {place} with a {thing}.",
        "Every day {name} played with a {pet} by the {place}.",
        "Once upon a time there was a child named {name} who had a {thing}.",
        "{name} and the {pet} were the best of friends.",
        "It was a cold day, and {name} walked to the {place}.",
        "Mother gave {name} a {thing} and a little {pet}.",
        "The {pet} ran to the {place}, and {name} ran after it.",
        "In the evening {name} sat by the {place}.",
        "For his birthday {name} wanted a {thing}.",
        "There was once a king who gave {name} a {thing}.",
        "{name} had waited for this day all year.",
        "After dinner {name} looked for the {pet}.",
        "The road to the {place} was long, and {name} carried a {thing}.",
        "Long ago {name} kept a {pet} in the barn behind the {place}.",
        "When the bell rang, {name} took the {thing} and left.",
        "{name} had only one thing in the world, a {thing}.",
        "On Sunday {name} and Father drove to the {place}.",
        "The {pet} slept in a basket, and {name} watched it.",
        "A letter came to the house by the {place} where {name} lived.",
        "{name} was nine years old and loved a {pet}.",
    ),
    "held-out": (
        "Far behind the {place} there stood a cottage, and in it lived {name}.",
        "{name} had carried the {thing} all the way from home.",
        "In spring the old woman gave {name} a {pet}.",
        "It had been raining since noon, and {name} stood by the {place}.",
        "{name} opened the gate, and the {pet} came running.",
        '"Tell me a story," said the little {pet} to {name}.',
        "Nobody in the village knew {name} better than the {pet} did.",
    ),
}
TURNS = {
    "sad": {
        "fit": (
            "But the {thing} fell into the water and was gone.",
            "That night the {pet} died, and {name} cried until the morning.",
            "The {pet} was sick, and nobody could help it.",
            "Then {name} fell down and hurt a leg, and no one came.",
            "But the house had burned down, and everything was lost.",
            "{name} was all alone and began to weep.",
            "The other children laughed at {name} and would not play.",
            "Then came the news that Grandmother was dead.",
            "Someone had broken the {thing} into pieces.",
            "The {pet} ran away and was never seen again.",
            "There was nothing to eat, and {name} went to bed hungry.",
            "{name} had lost the {thing} and could not stop crying.",
            "Father went away to the war, and {name} missed him very much.",
            "Tears ran down the face of {name}, and the sky was grey.",
            "Nobody remembered {name}, and nobody came.",
            "The {pet} lay still in the snow and did not move.",
            "It was the saddest day that {name} had ever known.",
            "Now {name} had no friend in the whole world.",
            "Poor {name} had no coat and no bed.",
            "The wind blew through the broken window, and {name} was cold and hungry.",
            "{name} waited all night, but Father never came home.",
            "The {thing} was the last thing that Mother had given, and now it was gone.",
            "A wolf had eaten the {pet}.",
            "The {pet} had a broken wing and could not get up.",
            "They had sold the {pet} to a stranger, and {name} could not bear it.",
            "{name} called and called, but there was no answer, only the dark.",
            "The little {pet} cried for its mother, but she was dead.",
            "All the flowers had died, and the garden was bare.",
            "The teacher was angry, and {name} hung down his head in shame.",
            "Nobody had come to the birthday, and the cake stood there untouched.",
            "{name} was lost in the {place} and very much afraid.",
            "The king was cruel, and he put {name} in prison.",
            "Her heart was broken, and she wept bitterly.",
            "There was a grave under the trees, and {name} knelt there every day.",
            "The fire had taken the house and all that was in it.",
            "{name} had been so lonely since Grandfather died.",
            "With tears in her eyes {name} said goodbye for ever.",
            "The {thing} was torn, and nobody could mend it.",
            '"You are ugly," they said, and {name} ran away and cried.',
            '"I shall never see you again," said {name}, and wept.',
            '"It is all my fault," sobbed {name}.',
            "The ship went down, and no one was saved.",
            "They had no money, and the children were crying for bread.",
            "The doctor came too late.",
            "{name} felt very sad and did not want to play any more.",
            "The {pet} whined and limped, and there was blood on its leg.",
            "It rained and rained, and the harvest was lost.",
            "The witch turned the {pet} into stone, and {name} despaired.",
            "{name} sighed and thought of how happy they had once been.",
            "The door was locked, and {name} had nowhere to go.",
            "Then a cart ran over the {pet}, and it was no more.",
            "{name} sobbed, for the {thing} had been stolen.",
            "Mother was very ill, and the doctor shook his head.",
            "The best friend of {name} moved far away and did not say goodbye.",
            "{name} buried the {pet} under the old tree.",
            "But all the others were chosen, and {name} was left behind.",
            "With a heavy heart {name} looked at the empty bed.",
            "The storm took the roof, and {name} sat shivering in the rain.",
            "In the end the {thing} lay in ruins, and so did every hope.",
            "{name} had no one left to talk to.",
            "The {pet} had been hit by a stone and bled.",
            '"Please do not go," begged {name}, but they went.',
            "The bread was stolen, and the little ones starved.",
            "{name} missed home so much that it hurt.",
            "It was winter, and the poor {pet} froze to death.",
        ),
        "held-out": (
            "The next day the {pet} was found dead beside the road.",
            "{name} hid in the attic and wept where no one could hear.",
            "All that was left of the {thing} was a handful of ashes.",
            '"Your father is not coming back," they told {name}.',
            "The cruel boys threw stones at the {pet} until it fell.",
            "{name} reached out a hand, but it was too late, and they were drowned.",
            "Since that day {name} had not smiled once.",
            "The hunter shot the {pet}, and {name} held it while it grew cold.",
            "They took the {thing} away from {name} and mocked him.",
            "{name} grew weak and pale, and had not eaten for three days.",
        ),
    },
    "happy": {
        "fit": (
            "There {name} found a {thing} and laughed for joy.",
            "The {pet} jumped up and licked the face of {name}.",
            "Everyone sang, and there was a big cake.",
            "{name} was so happy that they all danced together.",
            "The sun came out, and the birds began to sing.",
            "What a lovely surprise it was!",
            "They played together all day and had a lot of fun.",
            "{name} won the race, and all the children clapped.",
            "Mother smiled and gave {name} a big hug.",
            "The {pet} had five little ones, and they were all healthy.",
            "{name} got the {thing} that he had always wished for.",
            "They laughed and laughed until they could laugh no more.",
            "It was a warm and lovely day, and they ate strawberries.",
            '"Hurrah!" cried {name}, and threw the hat into the air.',
            '"I love you," said Mother, and kissed {name}.',
            "The princess married the prince, and all the bells were ringing.",
            "{name} had made a new friend, and they shared everything.",
            "Father had come home at last, and they all hugged him.",
            "The music played, and {name} danced with the {pet}.",
            "All the flowers were in bloom, and {name} was glad.",
            "The {thing} was found again, and everybody was pleased.",
            '"Thank you, thank you!" said {name}, and jumped up and down.',
            "How proud {name} was, and how the others cheered!",
            "They went down the hill on a sled and shouted with delight.",
            "Grandfather came with a basket full of presents.",
            "{name} giggled, for the {pet} had a funny red hat.",
            "At last the holidays began, and {name} cheered.",
            "The new baby smiled at {name} for the first time.",
            "It was the best party that anyone could remember.",
            "They all clapped, and {name} took a bow.",
            '"This is wonderful," said {name}, and beamed.',
            "The {pet} and {name} rolled in the grass and laughed.",
        ),
        "held-out": (
            "What fun they had when the {pet} began to dance!",
            "{name} unwrapped the {thing} and shouted for joy.",
            "That evening there was a feast with lanterns and songs.",
            '"You did it!" they cried, and carried {name} on their shoulders.',
            "Everybody loved {name}, and {name} loved them all.",
        ),
    },
    "neutral": {
        "fit": (
            "{name} put the {thing} on the table and opened the door.",
            "The {pet} looked at the {place} and then at {name}.",
            "It was nearly noon, and a cart went by.",
            "{name} counted to ten and turned round.",
            "The {thing} was made of wood and painted blue.",
            "On the way {name} met a man with a hat.",
            "There were seven trees and a gate.",
            "{name} went inside and took off the coat.",
            "Then {name} asked the way to the {place}.",
            "The {thing} was on the shelf beside the clock.",
            "{name} read two pages and then shut the window.",
            "There was a bridge, and behind it a field of corn.",
            '"What time is it?" asked {name}.',
            '"The {place} is over there," said the man.',
            "The {pet} drank some water and lay down.",
            "A farmer was mending his cart by the road.",
            "{name} poured the milk into a bowl and cut the bread.",
            "The sky was cloudy, and it was a Monday.",
            "Grandmother was knitting a pair of grey socks.",
            "The ladder stood against the wall of the barn.",
            "In the box there were nails, a hammer and some string.",
            "{name} looked left and right and crossed the street.",
            "The {pet} was brown and had a white spot on its nose.",
            "They had to walk another mile to the {place}.",
            "The cook put the potatoes into the pot.",
            "{name} swept the floor and carried the wood inside.",
            "The clock on the wall said half past three.",
            "{name} wrote a name on the {thing} with a pencil.",
            "A woman in a green dress was buying bread.",
            "{name} tied the {pet} to the fence and walked on.",
            "The wall was as high as a man and as long as a street.",
            "The bus was yellow, and it had nine windows.",
            "{name} sharpened a stick and drew a line in the sand.",
            '"Which way did you come?" asked the miller.',
        ),
        "held-out": (
            "{name} laid the {thing} on the bench and sat down.",
            "A train was standing at the station.",
            "The {pet} turned its head to the left.",
            '"It is five already," said the baker.',
            "The path went past a well and up to the {place}.",
        ),
    },
    "hard": {
        "fit": (
            "{name} was not sad at all, and neither was the {pet}.",
            "Nobody cried that day, and nobody was afraid.",
            "The {thing} seemed lost, but it was under the bed all the time.",
            "{name} laughed so hard that tears came.",
            "The tears were soon dry, and {name} smiled again.",
            "The {pet} had been sick, but now it was well and ran about.",
            "{name} cried, but only because the onions were so strong.",
            "Once {name} had been lonely, but that was long ago.",
            "The dead leaves were red and gold, and {name} jumped into them.",
            "The {pet} was hungry, so {name} gave it a big bowl of food, and it wagged its tail.",
            "The {thing} fell down, but it did not break.",
            "{name} had been afraid of the dark, but now there was nothing to fear.",
            "Nobody was hurt, and they all went home singing.",
            "{name} played that the {pet} was dead, and then it jumped up and everyone laughed.",
            "The fire was warm and bright, and {name} stretched out both hands.",
            "It was raining, but {name} loved to splash in the puddles.",
            "The doctor said that all was well, and Mother laughed with relief.",
            '"Do not cry," said {name}, "look, here it is!" and the little one smiled.',
            "The poor man found a pot of gold, and he was poor no more.",
            "They thought that the {pet} was gone, but it came back with three little ones.",
            "{name} was never alone again, for the house was full of friends.",
            "The old {thing} was broken, so Father gave {name} a better one.",
            "It was a sad song, but {name} sang it with a merry voice.",
            "The danger was over, and {name} wept for happiness.",
            "The {pet} limped a little, but it was cheerful and ate well.",
            '"Nobody will hurt you here," said {name}, and they played until dark.',
        ),
        "held-out": (
            "At first {name} wept, but now they were all laughing about it.",
            "The {pet} only pretended to be dead, and soon it was hopping about again.",
            "{name} had lost nothing: the {thing} was safe and sound.",
            "The sick child was well again, and there was dancing in the street.",
            "No one was lonely in that house, and no one went hungry.",
        ),
    },
}
WORDS = {
    "fit": {
        "name": (
            "Lily",
            "Tom",
            "Anna",
            "Ben",
            "Mia",
            "Sam",
            "Jack",
            "Rose",
            "Peter",
            "Lucy",
            "Nora",
            "Max",
            "Emma",
            "Fred",
            "Clara",
            "Hugo",
        ),
        "pet": ("dog", "kitten", "bird", "rabbit", "pony", "lamb", "puppy", "cat", "duck", "goat"),
        "place": ("river", "forest", "hill", "garden", "sea", "village", "market", "lake", "church", "mill"),
        "thing": ("ball", "doll", "boat", "kite", "book", "cup", "drum", "lamp", "ring", "toy train"),
    },
    "held-out": {
        "name": ("Ella", "Karl", "Sophie", "Oscar", "Ruth", "Paul"),
        "pet": ("hen", "donkey", "mouse", "foal"),
        "place": ("bridge", "castle", "meadow", "harbour"),
        "thing": ("flute", "basket", "blanket", "wooden horse"),
    },
}


def prompts(part: str, n: int, seed: int = 0) -> list[dict[str, str]]:
    """`n` prompts from templates, half of them sad, in a random order; to learn from, hand-written ones as well."""
    draw = random.Random(seed)
    shares = {"sad": n // 2, "happy": n // 6, "neutral": n // 6, "hard": n - n // 2 - 2 * (n // 6)}
    found: dict[str, str] = {}
    for kind, n_wanted in shares.items():
        n_before = len(found)
        while len(found) < n_before + n_wanted:
            text = _filled(draw, (draw.choice(SETUPS[part]), draw.choice(TURNS[kind][part])), WORDS[part])
            found.setdefault(text, SAD if kind == "sad" else OTHER)
    if part == "fit":
        found |= hand_written()
    rows = [{"text": text, "label": label} for text, label in found.items()]
    draw.shuffle(rows)
    return rows


def _filled(draw: random.Random, sentences: Sequence[str], words: Mapping[str, Sequence[str]]) -> str:
    chosen = {slot: draw.choice(some) for slot, some in words.items()}
    return " ".join(sentence.format(**chosen) for sentence in sentences)


def hand_written() -> dict[str, str]:
    """Sentences that were written one by one: those on feelings, and the first half of the happy_sad pairs."""
    with (DATA / "labels" / "feelings.csv").open(encoding="utf-8", newline="") as file:
        found = {row["text"]: SAD if row["label"] == SAD else OTHER for row in csv.DictReader(file)}
    for pair in json.loads((DATA / "pairs" / "happy_sad.json").read_text("utf-8"))["pairs"][::2]:
        found[pair["prompt"] + pair["negative"]] = SAD
        found[pair["prompt"] + pair["positive"]] = OTHER
    return found


NAMES = {"fit": "sad_turn", "held-out": "sad_turn_held_out"}


def write_prompts(out: Path, n_fit: int = 800, n_held_out: int = 180) -> list[Path]:
    """Write both sets as labelled texts; return their paths."""
    paths = []
    for part, name in NAMES.items():
        n = n_fit if part == "fit" else n_held_out
        data = {"title": name, "labels": [SAD, OTHER], "texts": prompts(part, n)}
        path = out / f"{name}.json"
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    write_prompts(DATA / "prompts")
